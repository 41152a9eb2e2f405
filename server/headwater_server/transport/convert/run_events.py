"""From the domain's events of a run to the contract's."""

from __future__ import annotations

from headwater.v1 import workflow_pb2
from headwater_server.domain.workflow import EventType, RunEvent
from headwater_server.transport.convert.action_replies import action_reply
from headwater_server.transport.convert.durations import duration
from headwater_server.transport.convert.replies import timestamp, usage_message
from headwater_server.transport.convert.runs import RUN_STATUSES, SKIP_REASONS, optional_failure

MAX_INT32 = 2**31 - 1


def run_event(run_id: str, event: RunEvent) -> workflow_pb2.WorkflowEvent:
    """An event of a run as a message; a field that says nothing is not set."""
    message = workflow_pb2.WorkflowEvent(
        sequence=event.sequence,
        run_id=run_id,
        create_time=timestamp(event.create_time),
        step=event.step,
        attempt=event.attempt,
    )
    match event.type:
        case EventType.RUN_STARTED:
            message.run_started.workflow_name = event.workflow_name
        case EventType.STEP_WAITING:
            message.step_waiting.queue = event.queue
        case EventType.STEP_CHUNK:
            message.step_chunk.CopyFrom(_chunk(event))
        case EventType.STEP_PROGRESS:
            message.step_progress.progress_json = event.result
        case EventType.STEP_COMPLETED:
            completed = workflow_pb2.StepCompletedEvent(result_json=event.result, reply=action_reply(event.reply))
            message.step_completed.CopyFrom(completed)
        case EventType.STEP_FAILED:
            failed = workflow_pb2.StepFailedEvent(
                failure=optional_failure(event.failure), reply=action_reply(event.reply)
            )
            message.step_failed.CopyFrom(failed)
        case EventType.STEP_RETRYING:
            retrying = workflow_pb2.StepRetryingEvent(
                failure=optional_failure(event.failure),
                delay=duration(event.delay_seconds),
                reply=action_reply(event.reply),
            )
            message.step_retrying.CopyFrom(retrying)
        case EventType.STEP_SKIPPED:
            message.step_skipped.CopyFrom(_skipped(event))
        case EventType.RUN_WARNING:
            warning = workflow_pb2.RunWarningEvent(message=event.message, context_key=event.context_key)
            message.run_warning.CopyFrom(warning)
        case EventType.RUN_FINISHED:
            message.run_finished.CopyFrom(_finished(event))
        case EventType.RUN_RESUMED | EventType.STEP_STARTED | EventType.STEP_CANCELLED:
            getattr(message, event.type.value).SetInParent()
    return message


def _chunk(event: RunEvent) -> workflow_pb2.StepChunkEvent:
    return workflow_pb2.StepChunkEvent(
        content=event.content, thinking=event.thinking, omitted_characters=min(event.omitted, MAX_INT32)
    )


def _skipped(event: RunEvent) -> workflow_pb2.StepSkippedEvent:
    reason = SKIP_REASONS[event.skip_reason] if event.skip_reason else None
    return workflow_pb2.StepSkippedEvent(reason=reason, because_of=event.because_of)


def _finished(event: RunEvent) -> workflow_pb2.RunFinishedEvent:
    return workflow_pb2.RunFinishedEvent(
        status=RUN_STATUSES[event.run_status] if event.run_status else None,
        failure=optional_failure(event.failure),
        failed_steps=event.failed_steps,
        usage=usage_message(event.usage),
    )
