"""Events of runs, written in a line."""

from __future__ import annotations

from typing import Any

from headwater._values.durations import to_duration
from headwater.v1 import error_pb2, workflow_pb2


def failure(message: str, reason: str = "STEP_FAILED", **fields: Any) -> error_pb2.Failure:
    """A failure of the contract."""
    return error_pb2.Failure(reason=f"ERROR_REASON_{reason}", message=message, **fields)


def event(kind: str, step: str = "", *, attempt: int = 0, at: float = 0.0, **facts: Any) -> workflow_pb2.WorkflowEvent:
    """An event.

    Args:
        kind: name of the field in the contract's oneof, such as `step_started`.
        step: name of the step.
        attempt: of the step.
        at: when it happened, in seconds after a fixed moment.
        facts: fields of the event; `error` is the message of a failure, `delay` is in seconds.
    """
    if "error" in facts:
        facts["failure"] = failure(facts.pop("error"))
    if "delay" in facts:
        facts["delay"] = to_duration(facts["delay"])
    own = {name: facts.pop(name) for name in ("sequence", "run_id") if name in facts}
    message = workflow_pb2.WorkflowEvent(step=step, attempt=attempt, **own)
    getattr(message, kind).SetInParent()
    getattr(message, kind).MergeFrom(type(getattr(message, kind))(**facts))
    message.create_time.FromNanoseconds(int((1_000_000 + at) * 1e9))
    return message
