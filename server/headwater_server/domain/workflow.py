"""Workflows, their runs and events: plain data.

Values of a context and results of steps are JSON text here, as their author wrote them: 3 stays 3 and 3.0 stays 3.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

Context: TypeAlias = dict[str, str]
"""Key to value as JSON text."""


class StepStatus(StrEnum):
    """How far a step is; the names are those of the contract."""

    PENDING = "pending"
    RUNNING = "running"
    WAITING_FOR_WORKER = "waiting_for_worker"
    RETRYING = "retrying"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


ENDED_STEP = frozenset({StepStatus.COMPLETED, StepStatus.FAILED, StepStatus.SKIPPED, StepStatus.CANCELLED})


class RunStatus(StrEnum):
    """How far a run is; the names are those of the contract."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class EventType(StrEnum):
    """The kind of an event; the names are those of the contract."""

    RUN_STARTED = "run_started"
    RUN_RESUMED = "run_resumed"
    STEP_STARTED = "step_started"
    STEP_WAITING_FOR_WORKER = "step_waiting_for_worker"
    CHUNK = "chunk"
    STEP_COMPLETED = "step_completed"
    STEP_FAILED = "step_failed"
    STEP_RETRYING = "step_retrying"
    STEP_SKIPPED = "step_skipped"
    STEP_CANCELLED = "step_cancelled"
    WARNING = "warning"
    RUN_FINISHED = "run_finished"


@dataclass(frozen=True, slots=True)
class Step:
    """One node of a workflow; the fields are those of the contract, with its defaults.

    Attributes:
        metadata: a JSON object as text; empty for none.
    """

    name: str
    action: str = ""
    handler: str = ""
    depends_on: tuple[str, ...] = ()
    condition: str = ""
    timeout_seconds: float | None = None
    max_retries: int = 3
    parallel: bool = True
    description: str = ""
    metadata: str = ""
    queue: str = ""


@dataclass(frozen=True, slots=True)
class Workflow:
    """A definition.

    Attributes:
        agent: the request that action steps are made of, as its author's transport wrote it; opaque here.
        schedule_timeout_seconds: how long a step may wait for a worker.
    """

    name: str
    steps: tuple[Step, ...]
    description: str = ""
    agent: bytes = b""
    id: str = ""
    schedule_timeout_seconds: float = 3600.0


@dataclass(slots=True)
class StepState:
    """A step of a run.

    Attributes:
        attempt: number of its latest attempt; 0 before the first.
        failures: how many attempts have failed since the step last started over; those that a crash ended do not count.
        result: JSON text; empty unless it completed.
        error: why it failed, was skipped or is tried again.
        cause: on a skipped step: the steps that failed or were cancelled and so led to it; empty when a condition did.
        started: when its latest attempt began, in seconds since the epoch; 0 before.
        ended: when it ended; 0 before.
        queue: the queue that it waits for.
    """

    name: str
    status: StepStatus = StepStatus.PENDING
    attempt: int = 0
    failures: int = 0
    result: str = ""
    error: str = ""
    cause: tuple[str, ...] = ()
    started: float = 0.0
    ended: float = 0.0
    queue: str = ""


@dataclass(slots=True)
class RunState:
    """A run as far as it has come; the scheduler reads and changes it.

    Attributes:
        steps: by name, in the order of the definition.
        context: the values that the run began with or handlers set, and the results under `NAME_result`.
        status: RUNNING until it has ended.
        error: names the steps that failed.
    """

    steps: dict[str, StepState]
    context: Context = field(default_factory=dict)
    status: RunStatus = RunStatus.RUNNING
    error: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of an attempt that succeeded.

    Attributes:
        result: JSON text.
        changes: keys of the context that the handler set or changed.
        deleted: keys that it deleted.
    """

    result: str
    changes: Mapping[str, str] = field(default_factory=dict)
    deleted: tuple[str, ...] = ()


class StepError(Exception):
    """An attempt of a step failed; `retryable` says whether another one may succeed."""

    def __init__(self, message: str, *, retryable: bool) -> None:
        super().__init__(message)
        self.message = message
        self.retryable = retryable


@dataclass(slots=True)
class RunEvent:
    """Something that happened in a run; fields that its type does not use are empty.

    Attributes:
        sequence: its number, which only rises; 0 until it has one.
        omitted: on a chunk: characters of the step's output before it that are no longer kept.
        create_time: in seconds since the epoch; 0.0 until it is recorded.
    """

    type: EventType
    step: str = ""
    attempt: int = 0
    content: str = ""
    thinking: str = ""
    omitted: int = 0
    result: str = ""
    error: str = ""
    delay_seconds: float = 0.0
    queue: str = ""
    key: str = ""
    run_status: RunStatus | None = None
    sequence: int = 0
    create_time: float = 0.0


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of a run's state. It must be durable before anything acts on it or a watcher sees it.

    Attributes:
        event: the event for the watchers.
        step: the step as it is after the change; None when the change is the run's.
        context: the context's keys that it set.
        deleted: the context's keys that it deleted.
        also: more steps, as they are after the change: those that start over when a run is resumed.
    """

    event: RunEvent
    step: StepState | None = None
    context: Mapping[str, str] = field(default_factory=dict)
    deleted: tuple[str, ...] = ()
    also: tuple[StepState, ...] = ()
