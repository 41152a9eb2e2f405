"""The events of a run, as its watchers see them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

from headwater._grpc.wrong_server import json_of
from headwater._values.durations import seconds_of
from headwater._values.failures import to_failure
from headwater._values.replies import reply_facts, usage_counts
from headwater._workflow.result import SkipReason, StepStatus, skipped_in_words, status_of_run, to_skip_reason
from headwater.exceptions import Failure
from headwater.v1 import workflow_pb2

_Failed: TypeAlias = workflow_pb2.StepFailedEvent | workflow_pb2.StepRetryingEvent | workflow_pb2.RunFinishedEvent


class WorkflowEventType(StrEnum):
    """The kinds of events. A server that is newer than this client may send others: they are `unknown`."""

    UNKNOWN = "unknown"
    RUN_STARTED = "run_started"
    RUN_RESUMED = "run_resumed"
    STEP_STARTED = "step_started"
    STEP_WAITING_FOR_WORKER = "step_waiting_for_worker"
    CHUNK = "chunk"
    STEP_PROGRESS = "step_progress"
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
        type: the kind of the event. After `run_resumed`, `step_started` and `step_retrying` the chunks of the step's
            earlier attempts are void.
        run_id: id of the run.
        sequence: rises over the whole life of a run, with gaps.
        timestamp: when, in seconds since the epoch.
        step: name of the step, on events of a step.
        attempt: number of the step's attempt, from 1, on events of a step.
        content: text of a chunk.
        thinking: thinking of a chunk.
        omitted_characters: characters of the step's output before this chunk that the server no longer has.
        result: on `step_completed`: the step's result.
        progress: on `step_progress`: the value that its handler gave `step.heartbeat`.
        error: in words, what went wrong, or why a step is skipped.
        failure: why a step or the run failed, as facts.
        skip_reason: on `step_skipped`: why.
        because_of: on `step_skipped`: names of the steps that led to it, at most 100.
        delay: on `step_retrying`: seconds until the next attempt.
        queue: on `step_waiting_for_worker`: the queue.
        key: on a `warning` about the context: its key.
        status: on `run_finished`: how the run ended.
        failed_steps: on `run_finished`: names of the steps that failed, at most 100.
        finish_reason: when an attempt of an action step has ended with a reply: why the model stopped.
        usage: then too: counts of tokens by name, of this attempt; on `run_finished` of all action steps together.
        model: then too: the model asked for.
        provider: then too: name of the provider that answered.
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
    progress: Any = None
    error: str = ""
    delay: float = 0.0
    queue: str = ""
    key: str = ""
    status: StepStatus | None = None
    failure: Failure | None = None
    skip_reason: SkipReason | None = None
    because_of: tuple[str, ...] = ()
    failed_steps: tuple[str, ...] = ()
    finish_reason: str | None = None
    usage: Mapping[str, int] | None = None
    model: str | None = None
    provider: str | None = None


_TYPES = {
    "run_started": WorkflowEventType.RUN_STARTED,
    "run_resumed": WorkflowEventType.RUN_RESUMED,
    "step_started": WorkflowEventType.STEP_STARTED,
    "step_waiting": WorkflowEventType.STEP_WAITING_FOR_WORKER,
    "step_chunk": WorkflowEventType.CHUNK,
    "step_progress": WorkflowEventType.STEP_PROGRESS,
    "step_completed": WorkflowEventType.STEP_COMPLETED,
    "step_failed": WorkflowEventType.STEP_FAILED,
    "step_retrying": WorkflowEventType.STEP_RETRYING,
    "step_skipped": WorkflowEventType.STEP_SKIPPED,
    "step_cancelled": WorkflowEventType.STEP_CANCELLED,
    "run_warning": WorkflowEventType.WARNING,
    "run_finished": WorkflowEventType.RUN_FINISHED,
}


def to_event(run_id: str, message: workflow_pb2.WorkflowEvent) -> WorkflowEvent:
    """An event as the service sends it. Raises HeadwaterError for one that no right server sends."""
    kind = message.WhichOneof("event")
    return WorkflowEvent(
        type=_TYPES.get(kind or "", WorkflowEventType.UNKNOWN),
        run_id=message.run_id or run_id,
        sequence=message.sequence,
        timestamp=seconds_of(message.create_time),
        step=message.step,
        attempt=message.attempt,
        **_facts(message, kind),
    )


def _facts(message: workflow_pb2.WorkflowEvent, kind: str | None) -> dict[str, Any]:
    """The facts of an event of this kind."""
    match kind:
        case "step_chunk":
            chunk = message.step_chunk
            return {
                "content": chunk.content,
                "thinking": chunk.thinking,
                "omitted_characters": chunk.omitted_characters,
            }
        case "step_progress":
            return {"progress": json_of(f"progress of step {message.step!r}", message.step_progress.progress_json)}
        case "step_completed":
            completed = message.step_completed
            result = json_of(f"a result of step {message.step!r}", completed.result_json)
            return {"result": result, **vars(reply_facts(completed.reply))}
        case "step_failed":
            return {**_failure(message.step_failed), **vars(reply_facts(message.step_failed.reply))}
        case "step_retrying":
            retrying = message.step_retrying
            facts = vars(reply_facts(retrying.reply))
            return {**_failure(retrying), "delay": seconds_of(retrying.delay), **facts}
        case "step_skipped":
            skipped = message.step_skipped
            return {
                "error": skipped_in_words(skipped.reason, skipped.because_of),
                "skip_reason": to_skip_reason(skipped.reason),
                "because_of": tuple(skipped.because_of),
            }
        case "step_waiting":
            return {"queue": message.step_waiting.queue}
        case "run_warning":
            return {"error": message.run_warning.message, "key": message.run_warning.context_key}
        case "run_finished":
            finished = message.run_finished
            return {
                **_failure(finished),
                "status": status_of_run(finished.status),
                "failed_steps": tuple(finished.failed_steps),
                "usage": usage_counts(finished.usage) if finished.HasField("usage") else None,
            }
        case _:
            return {}


def _failure(event: _Failed) -> dict[str, Any]:
    if not event.HasField("failure"):
        return {}
    return {"error": event.failure.message, "failure": to_failure(event.failure)}
