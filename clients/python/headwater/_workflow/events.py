"""What happens in a run, as its watchers see it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from headwater._workflow.result import StepStatus, seconds_of, status_of_run
from headwater.v1 import workflow_pb2


class WorkflowEventType(StrEnum):
    """What an event tells. A server that is newer than this client may send others: they are `unknown`."""

    UNKNOWN = "unknown"
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


@dataclass(frozen=True)
class WorkflowEvent:
    """Something that happened in a run. Fields that its type does not name are empty or None.

    Attributes:
        type: what happened. After `run_resumed`, `step_started` and `step_retrying` the chunks of the step's earlier
            attempts are void.
        run_id: id of the run.
        sequence: rises over the whole life of a run, with gaps.
        timestamp: when, in seconds since the epoch.
        step: name of the step, on events of a step.
        attempt: number of the step's attempt, from 1, on events of a step.
        content: text of a chunk.
        thinking: thinking of a chunk.
        omitted_characters: characters of the step's output before this chunk that the server no longer has.
        result: on `step_completed`: the step's result.
        error: what went wrong, or why a step is skipped.
        delay: on `step_retrying`: seconds until the next attempt.
        queue: on `step_waiting_for_worker`: the queue.
        key: on a `warning` about the context: its key.
        status: on `run_finished`: how the run ended.
    """

    type: WorkflowEventType
    run_id: str
    sequence: int
    timestamp: float
    step: str = ""
    attempt: int = 0
    content: str = ""
    thinking: str = ""
    omitted_characters: int = 0
    result: Any = None
    error: str = ""
    delay: float = 0.0
    queue: str = ""
    key: str = ""
    status: StepStatus | None = None


_PREFIX = "WORKFLOW_EVENT_TYPE_"
_TYPES = {
    workflow_pb2.WorkflowEventType.Value(_PREFIX + kind.name): kind
    for kind in WorkflowEventType
    if kind is not WorkflowEventType.UNKNOWN
}


def to_event(run_id: str, message: workflow_pb2.WorkflowEvent) -> WorkflowEvent:
    """An event as the service sends it."""
    return WorkflowEvent(
        type=_TYPES.get(message.type, WorkflowEventType.UNKNOWN),
        run_id=run_id,
        sequence=message.sequence,
        timestamp=seconds_of(message.create_time),
        step=message.step,
        attempt=message.attempt,
        content=message.content,
        thinking=message.thinking,
        omitted_characters=message.omitted_characters,
        result=json.loads(message.result) if message.result else None,
        error=message.error,
        delay=message.delay_ms / 1000,
        queue=message.queue,
        key=message.key,
        status=status_of_run(message.run_status) if message.run_status else None,
    )
