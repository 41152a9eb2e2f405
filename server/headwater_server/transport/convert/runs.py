"""Between the contract's runs of workflows and the domain's."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from headwater.v1 import error_pb2, workflow_pb2, workflow_service_pb2
from headwater_server.domain.chunks import total_usage
from headwater_server.domain.errors import invalid
from headwater_server.domain.failure import Failure, cut
from headwater_server.domain.json_text import members, to_json
from headwater_server.domain.limits import MAX_MESSAGE_BYTES
from headwater_server.domain.workflow import Context, RunStatus, SkipReason, StepState, StepStatus
from headwater_server.transport.convert.action_replies import action_reply
from headwater_server.transport.convert.durations import parse_timestamp
from headwater_server.transport.convert.failures import failure as failure_message
from headwater_server.transport.convert.replies import timestamp, usage_message
from headwater_server.transport.convert.structs import struct_to_dict
from headwater_server.transport.convert.workflows import workflow
from headwater_server.workflows.engine.context import MAX_CONTEXT_BYTES, utf8_size
from headwater_server.workflows.engine.run_calls import RunView
from headwater_server.workflows.engine.steps import json_object
from headwater_server.workflows.journal.base import RunSummary

SHORTER = ((200, 10), (50, 1), (0, 0))
"""Characters of a step's failure and names of `skipped_because_of` in a run that is too large as it is, and so on."""

RUN_STATUSES: dict[RunStatus, workflow_pb2.WorkflowRunStatus] = {
    status: workflow_pb2.WorkflowRunStatus.Value(f"WORKFLOW_RUN_STATUS_{status.name}")  # type: ignore[misc]
    for status in RunStatus
}
SKIP_REASONS: dict[SkipReason, workflow_pb2.SkipReason] = {
    reason: workflow_pb2.SkipReason.Value(f"SKIP_REASON_{reason.name}")  # type: ignore[misc]
    for reason in SkipReason
}
_STEP_STATUSES: dict[StepStatus, workflow_pb2.StepStatus] = {
    status: workflow_pb2.StepStatus.Value(f"STEP_STATUS_{status.name}")  # type: ignore[misc]
    for status in StepStatus
}
_RUN_STATUSES_BACK = {int(number): status for status, number in RUN_STATUSES.items()}


def parse_context(message: workflow_service_pb2.StartWorkflowRunRequest) -> Context:
    """The context that a run begins with. Raises HeadwaterError (INVALID_REQUEST)."""
    if message.HasField("context") and message.context_json:
        raise invalid("context", "was given together with context_json; leave one out")
    if message.HasField("context"):
        try:
            context = {key: to_json(value) for key, value in struct_to_dict(message.context).items()}
        except (ValueError, RecursionError) as error:
            raise invalid("context", str(error)) from error
        name = "context"
    else:
        name, context = "context_json", _members("context_json", message.context_json or "{}")
    size = sum(utf8_size(key) + utf8_size(value) for key, value in context.items())
    if size > MAX_CONTEXT_BYTES:
        largest = cut(max(context, key=lambda key: utf8_size(key) + utf8_size(context[key])), 100)
        limit = f"more than {MAX_CONTEXT_BYTES:,}; pass references, not contents"
        raise invalid(name, f"has {size:,} bytes (largest key: `{largest}`), {limit}")
    return context


def _members(name: str, text: str) -> dict[str, str]:
    """The members of an object that a field holds as JSON text. Raises HeadwaterError (INVALID_REQUEST)."""
    size = utf8_size(text)
    if size > MAX_CONTEXT_BYTES:
        raise invalid(name, f"has {size} bytes, more than {MAX_CONTEXT_BYTES}; pass references, not contents")
    try:
        return members(text)
    except ValueError as error:
        raise invalid(name, str(error)) from error


def parse_min_create_time(message: workflow_service_pb2.ListWorkflowRunsRequest) -> float:
    """Seconds since the epoch; 0.0 for any. Raises HeadwaterError (INVALID_REQUEST)."""
    if not message.HasField("min_create_time"):
        return 0.0
    try:
        return parse_timestamp(message.min_create_time)
    except ValueError as error:
        raise invalid("min_create_time", str(error)) from error


def parse_status(number: int) -> RunStatus | None:
    """The status to look for; None for any. Raises HeadwaterError (INVALID_REQUEST)."""
    if number == workflow_pb2.WORKFLOW_RUN_STATUS_UNSPECIFIED:
        return None
    if number not in _RUN_STATUSES_BACK:
        raise invalid("status", "is not a value of WorkflowRunStatus")
    return _RUN_STATUSES_BACK[number]


def workflow_run(view: RunView) -> workflow_pb2.WorkflowRun:
    """A run as a message. Its parts are bounded. Where it would be over 3 MiB even so, the failures and skips of its
    steps are shortened.
    """
    info, state = view.info, view.state
    message = workflow_pb2.WorkflowRun(
        run_id=info.run_id,
        status=RUN_STATUSES[state.status],
        workflow=workflow(info.workflow),
        workflow_name=info.workflow.name,
        context_json=json_object(state.context),
        steps=[_step_run(step, state.progress.get(step.name, "")) for step in state.steps.values()],
        failure=optional_failure(state.failure),
        failed_steps=state.failed_steps,
        create_time=timestamp(info.created),
        end_time=_optional_time(view.ended),
        sequence=view.sequence,
        queue=info.queue,
        usage=usage_message(total_usage(step.reply.usage for step in state.steps.values() if step.reply)),
    )
    if message.ByteSize() > MAX_MESSAGE_BYTES:
        message.context_lacks_results = True
        results = {f"{name}_result": step.result for name, step in state.steps.items()}
        message.context_json = json_object({k: v for k, v in state.context.items() if results.get(k) != v})
    for characters, names in SHORTER:
        if message.ByteSize() <= MAX_MESSAGE_BYTES:
            break
        for entry in message.steps:
            _shorten(entry, characters, names)
    return message


def _shorten(step: workflow_pb2.StepRun, characters: int, names: int) -> None:
    step.ClearField("progress_json")
    del step.skipped_because_of[names:]
    if step.HasField("failure"):
        step.failure.message = step.failure.message[:characters]
        for name in ("type", "provider", "cause"):
            step.failure.ClearField(name)


def run_summary(summary: RunSummary) -> workflow_pb2.WorkflowRun:
    """A run in a list."""
    return workflow_pb2.WorkflowRun(
        run_id=summary.run_id,
        status=RUN_STATUSES[summary.status],
        workflow_name=summary.workflow_name,
        failure=optional_failure(summary.failure),
        failed_steps=summary.failed_steps,
        create_time=timestamp(summary.created),
        end_time=_optional_time(summary.ended),
        queue=summary.queue,
        usage=usage_message(summary.usage),
    )


def _step_run(state: StepState, progress: str) -> workflow_pb2.StepRun:
    return workflow_pb2.StepRun(
        name=state.name,
        status=_STEP_STATUSES[state.status],
        attempt=state.attempt,
        result_json=state.result,
        failure=optional_failure(state.failure),
        skip_reason=SKIP_REASONS[state.skip_reason] if state.skip_reason else None,
        skipped_because_of=state.skipped_because_of,
        start_time=_optional_time(state.started),
        end_time=_optional_time(state.ended),
        queue=state.queue,
        reply=action_reply(state.reply),
        progress_json=progress,
    )


def optional_failure(failure: Failure | None) -> error_pb2.Failure | None:
    """A failure as a message; None for none."""
    return None if failure is None else failure_message(failure)


def _optional_time(seconds: float) -> Timestamp | None:
    return timestamp(seconds) if seconds else None
