"""Workflows, their runs and events: plain data.

Values of a context and results of steps are JSON text here, as their author wrote them: 3 stays 3 and 3.0 stays 3.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from headwater_server.domain.chunks import FinishReason, ReplyFacts, Usage
from headwater_server.domain.failure import Failure
from headwater_server.domain.messages import AgentConfig

ACTION_HANDLER = "headwater.action"
"""The handler of a step whose action a worker answers with an agent that has tools."""
Context: TypeAlias = dict[str, str]
"""Key to value as JSON text."""


class StepStatus(StrEnum):
    """State of a step; the names are those of the contract."""

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
    """State of a run; the names are those of the contract."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class SkipReason(StrEnum):
    """Why a step was skipped; the names are those of the contract."""

    CONDITION_FALSE = "condition_false"
    DEPENDENCY_FAILED = "dependency_failed"
    DEPENDENCY_SKIPPED = "dependency_skipped"
    NOTHING_FAILED = "nothing_failed"


class RunIf(StrEnum):
    """When a step runs, once its dependencies have ended; the names are those of the contract."""

    ALL_SUCCEEDED = "all_succeeded"
    NONE_FAILED = "none_failed"
    ALL_DONE = "all_done"
    ANY_FAILED = "any_failed"


class EventType(StrEnum):
    """The kind of an event; the names are those of the contract's oneof."""

    RUN_STARTED = "run_started"
    RUN_RESUMED = "run_resumed"
    STEP_STARTED = "step_started"
    STEP_WAITING = "step_waiting"
    STEP_CHUNK = "step_chunk"
    STEP_PROGRESS = "step_progress"
    STEP_COMPLETED = "step_completed"
    STEP_FAILED = "step_failed"
    STEP_RETRYING = "step_retrying"
    STEP_SKIPPED = "step_skipped"
    STEP_CANCELLED = "step_cancelled"
    RUN_WARNING = "run_warning"
    RUN_FINISHED = "run_finished"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When and how often a failed attempt is repeated; the fields are those of the contract, with its defaults."""

    initial_delay_seconds: float = 0.2
    backoff: float = 2.0
    max_delay_seconds: float = 60.0
    max_attempts: int = 4

    @property
    def is_at_most_once(self) -> bool:
        """Whether there is one attempt only: one that may have run is never repeated, also when its end is unknown."""
        return self.max_attempts == 1

    def delay_seconds(self, failures: int) -> float:
        """The delay after so many failed attempts."""
        return min(self.initial_delay_seconds * self.backoff ** (failures - 1), self.max_delay_seconds)


@dataclass(frozen=True, slots=True)
class Step:
    """One node of a workflow; the fields are those of the contract, with its defaults.

    Attributes:
        metadata: a JSON object as text; empty for none.
        agent: its settings over those of the workflow's agent.
        run_if: None: as ALL_SUCCEEDED, with a warning where a skip may not be meant.
        accept_finish_reasons: those with which a cut reply to the action counts as whole.
    """

    name: str
    action: str = ""
    handler: str = ""
    depends_on: tuple[str, ...] = ()
    condition: str = ""
    timeout_seconds: float | None = None
    retry_policy: RetryPolicy = RetryPolicy()
    exclusive: bool = False
    description: str = ""
    metadata: str = ""
    queue: str = ""
    accept_finish_reasons: tuple[FinishReason, ...] = ()
    run_if: RunIf | None = None
    agent: AgentConfig | None = None

    @property
    def is_prompt(self) -> bool:
        """Whether a model answers its action: the server's, or that of a worker whose agent has tools."""
        return bool(self.action) and self.handler in ("", ACTION_HANDLER)


@dataclass(frozen=True, slots=True)
class Workflow:
    """A definition.

    Attributes:
        agent: answers the steps with an action.
        schedule_timeout_seconds: how long a step may wait for a worker.
    """

    name: str
    steps: tuple[Step, ...]
    description: str = ""
    agent: AgentConfig = field(default_factory=AgentConfig)
    id: str = ""
    schedule_timeout_seconds: float = 3600.0


@dataclass(slots=True)
class StepState:
    """A step of a run.

    Attributes:
        attempt: number of its latest attempt; 0 before the first.
        failures: how many attempts have failed since the step last started over; those that a crash ended do not count.
        result: JSON text; empty unless it completed.
        failure: why it failed, or why its last attempt did.
        skip_reason: why it was skipped.
        skipped_because_of: the steps that led to the skip: those that failed or were cancelled; or, when a condition
            was the reason, those of its dependencies that were skipped.
        started: when its latest attempt began, in seconds since the epoch; 0 before.
        ended: when it ended; 0 before.
        queue: the queue that it waits for.
        reply: of the model, the latest; its usage is the sum over all attempts.
    """

    name: str
    status: StepStatus = StepStatus.PENDING
    attempt: int = 0
    failures: int = 0
    result: str = ""
    failure: Failure | None = None
    skip_reason: SkipReason | None = None
    skipped_because_of: tuple[str, ...] = ()
    started: float = 0.0
    ended: float = 0.0
    queue: str = ""
    reply: ReplyFacts | None = None


@dataclass(slots=True)
class RunState:
    """A run as far as it has come; the scheduler reads and changes it.

    Attributes:
        steps: by name, in the order of the definition.
        context: the values that the run began with or handlers set, and the results under `NAME_result`.
        status: RUNNING until it has ended.
        failure: why it failed; its cause is the failure of the first of the steps that failed.
        failed_steps: names of the steps that failed, in the order of the definition.
        progress: the progress that the handlers of steps reported last, by step, as JSON text; over all attempts.
    """

    steps: dict[str, StepState]
    context: Context = field(default_factory=dict)
    status: RunStatus = RunStatus.RUNNING
    failure: Failure | None = None
    failed_steps: tuple[str, ...] = ()
    progress: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of an attempt that succeeded.

    Attributes:
        result: JSON text.
        changes: keys of the context that the handler set or changed.
        deleted: keys that it deleted.
        reply: facts of the model's reply to an action.
    """

    result: str
    changes: Mapping[str, str] = field(default_factory=dict)
    deleted: tuple[str, ...] = ()
    reply: ReplyFacts | None = None


@dataclass(slots=True)
class RunEvent:
    """Something that happened in a run; fields that its type does not use are empty.

    Attributes:
        sequence: its number, which only rises; 0 until it has one.
        workflow_name: on RUN_STARTED.
        result: of a step, or its progress: JSON text.
        omitted: on a chunk: characters of the step's output before it that are no longer kept.
        failure: of an attempt, a step or the run.
        because_of: on STEP_SKIPPED, as `StepState.skipped_because_of`.
        delay_seconds: until the next attempt.
        queue: the queue that a step waits for.
        message: of a warning; `context_key` is the key of the context that it is about, or empty.
        failed_steps: on RUN_FINISHED, as `RunState.failed_steps`.
        reply: of the model in the attempt that ended.
        usage: on RUN_FINISHED: tokens of all steps.
        create_time: in seconds since the epoch; 0.0 until it is recorded.
    """

    type: EventType
    step: str = ""
    attempt: int = 0
    content: str = ""
    thinking: str = ""
    omitted: int = 0
    result: str = ""
    workflow_name: str = ""
    failure: Failure | None = None
    skip_reason: SkipReason | None = None
    because_of: tuple[str, ...] = ()
    delay_seconds: float = 0.0
    queue: str = ""
    message: str = ""
    context_key: str = ""
    run_status: RunStatus | None = None
    failed_steps: tuple[str, ...] = ()
    reply: ReplyFacts | None = None
    usage: Usage | None = None
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
