"""Between the contract's workflows and runs and the domain's."""

from __future__ import annotations

from typing import Any

from headwater.v1 import agent_service_pb2, workflow_pb2, workflow_service_pb2
from headwater_server.domain.errors import FieldViolation, HeadwaterError, invalid
from headwater_server.domain.json_text import parse_json, to_json
from headwater_server.domain.limits import MAX_MESSAGE_BYTES
from headwater_server.domain.workflow import (
    Context,
    EventType,
    RunEvent,
    RunStatus,
    Step,
    StepState,
    StepStatus,
    Workflow,
)
from headwater_server.streaming.live import Timeouts
from headwater_server.transport.convert.replies import timestamp
from headwater_server.transport.convert.requests import parse_request
from headwater_server.transport.convert.structs import struct_to_dict
from headwater_server.workflows.engine.context import MAX_CONTEXT_BYTES, utf8_size
from headwater_server.workflows.engine.runs import RunView, invalid_workflow
from headwater_server.workflows.engine.steps import json_object
from headwater_server.workflows.journal.base import RunSummary

MAX_WORKFLOW_BYTES = 512 * 1024
MAX_INT32 = 2**31 - 1
SHORT_ERROR = 100

_NOT_FOR_AN_AGENT = ("prompt", "messages", "tools", "tool_choice", "api_key", "continues_stream_id")
_EVENT_TYPES: dict[EventType, workflow_pb2.WorkflowEventType] = {
    kind: workflow_pb2.WorkflowEventType.Value(f"WORKFLOW_EVENT_TYPE_{kind.name}")  # type: ignore[misc]
    for kind in EventType
}
_RUN_STATUSES: dict[RunStatus, workflow_pb2.WorkflowRunStatus] = {
    status: workflow_pb2.WorkflowRunStatus.Value(f"WORKFLOW_RUN_STATUS_{status.name}")  # type: ignore[misc]
    for status in RunStatus
}
_STEP_STATUSES: dict[StepStatus, workflow_pb2.StepStatus] = {
    status: workflow_pb2.StepStatus.Value(f"STEP_STATUS_{status.name}")  # type: ignore[misc]
    for status in StepStatus
}
_RUN_STATUSES_BACK = {int(number): status for status, number in _RUN_STATUSES.items()}


def parse_workflow(message: workflow_pb2.Workflow) -> tuple[Workflow, list[FieldViolation]]:
    """The definition, and what is wrong with those of its fields that only the contract knows.

    Raises HeadwaterError (WORKFLOW_INVALID) for one that is too large to look at.
    """
    if message.ByteSize() > MAX_WORKFLOW_BYTES:
        raise invalid_workflow([FieldViolation("workflow", f"is larger than {MAX_WORKFLOW_BYTES} bytes")])
    bad = _agent_violations(message.agent)
    schedule_timeout = 3600.0
    if message.HasField("schedule_timeout_ms"):
        schedule_timeout = message.schedule_timeout_ms / 1000
    workflow = Workflow(
        name=message.name,
        steps=tuple(map(parse_step, message.steps)),
        description=message.description,
        agent=message.agent.SerializeToString(deterministic=True),
        id=message.id,
        schedule_timeout_seconds=schedule_timeout,
    )
    return workflow, bad


def _agent_violations(agent: agent_service_pb2.StreamRequest) -> list[FieldViolation]:
    bad = [
        FieldViolation(f"workflow.agent.{name}", "must be empty: " + _why(name))
        for name in _NOT_FOR_AN_AGENT
        if _is_set(agent, name)
    ]
    if not bad:
        trial = agent_service_pb2.StreamRequest()
        trial.CopyFrom(agent)
        trial.prompt = "?"
        try:
            parse_request(trial, Timeouts(), False)
        except HeadwaterError as error:
            bad = [FieldViolation(f"workflow.agent.{v.field}", v.description) for v in error.violations]
    return bad


def _is_set(message: agent_service_pb2.StreamRequest, name: str) -> bool:
    return any(field.name == name for field, _ in message.ListFields())


def _why(name: str) -> str:
    if name == "api_key":
        return "the run would store it; give the key to the server"
    return "the steps say what is asked"


def parse_step(message: workflow_pb2.Step) -> Step:
    """A step of a definition."""
    return Step(
        name=message.name,
        action=message.action,
        handler=message.handler,
        depends_on=tuple(message.depends_on),
        condition=message.condition,
        timeout_seconds=message.timeout_ms / 1000 if message.HasField("timeout_ms") else None,
        max_retries=message.max_retries if message.HasField("max_retries") else 3,
        parallel=message.parallel if message.HasField("parallel") else True,
        description=message.description,
        metadata=message.metadata,
        queue=message.queue,
    )


def workflow(definition: Workflow) -> workflow_pb2.Workflow:
    """A definition as a message."""
    return workflow_pb2.Workflow(
        name=definition.name,
        description=definition.description,
        steps=map(step, definition.steps),
        agent=agent_service_pb2.StreamRequest.FromString(definition.agent) if definition.agent else None,
        id=definition.id,
        schedule_timeout_ms=round(definition.schedule_timeout_seconds * 1000),
    )


def step(definition: Step) -> workflow_pb2.Step:
    """A step of a definition as a message."""
    timeout = definition.timeout_seconds
    return workflow_pb2.Step(
        name=definition.name,
        action=definition.action,
        handler=definition.handler,
        depends_on=definition.depends_on,
        condition=definition.condition,
        timeout_ms=None if timeout is None else round(timeout * 1000),
        max_retries=definition.max_retries,
        parallel=definition.parallel,
        description=definition.description,
        metadata=definition.metadata,
        queue=definition.queue,
    )


def parse_context(message: workflow_service_pb2.StartWorkflowRunRequest) -> Context:
    """The context that a run begins with. Raises HeadwaterError (INVALID_REQUEST)."""
    if message.HasField("context") and message.context_json:
        raise invalid("context", "was given together with context_json; leave one out")
    if message.HasField("context"):
        try:
            values: Any = struct_to_dict(message.context)
        except (ValueError, RecursionError) as error:
            raise invalid("context", str(error)) from error
        name = "context"
    else:
        name, values = "context_json", parse_json_object("context_json", message.context_json or "{}")
    context = {key: to_json(value) for key, value in values.items()}
    size = sum(utf8_size(key) + utf8_size(value) for key, value in context.items())
    if size > MAX_CONTEXT_BYTES:
        raise invalid(name, f"has {size} bytes, more than {MAX_CONTEXT_BYTES}; pass references, not contents")
    return context


def parse_json_object(name: str, text: str) -> dict[str, Any]:
    """The object that a field holds as JSON text. Raises HeadwaterError (INVALID_REQUEST) that names the field."""
    size = utf8_size(text)
    if size > MAX_CONTEXT_BYTES:
        raise invalid(name, f"has {size} bytes, more than {MAX_CONTEXT_BYTES}; pass references, not contents")
    try:
        value = parse_json(text)
    except ValueError as error:
        raise invalid(name, str(error)) from error
    if not isinstance(value, dict):
        raise invalid(name, 'must be a JSON object, such as {"key": "value"}')
    return value


def parse_status(number: int) -> RunStatus | None:
    """The status to look for; None for any. Raises HeadwaterError (INVALID_REQUEST)."""
    if number == workflow_pb2.WORKFLOW_RUN_STATUS_UNSPECIFIED:
        return None
    if number not in _RUN_STATUSES_BACK:
        raise invalid("status", "is not a value of WorkflowRunStatus")
    return _RUN_STATUSES_BACK[number]


def run_event(event: RunEvent) -> workflow_pb2.WorkflowEvent:
    """An event as a message; a field that says nothing is not set."""
    return workflow_pb2.WorkflowEvent(
        sequence=event.sequence,
        type=_EVENT_TYPES[event.type],
        step=event.step,
        attempt=event.attempt,
        content=event.content,
        thinking=event.thinking,
        omitted_characters=min(event.omitted, MAX_INT32),
        result=event.result,
        error=event.error,
        delay_ms=round(event.delay_seconds * 1000),
        queue=event.queue,
        key=event.key,
        run_status=_RUN_STATUSES[event.run_status] if event.run_status else None,
        create_time=timestamp(event.create_time),
    )


def workflow_run(view: RunView) -> workflow_pb2.WorkflowRun:
    """A run as a message. Its parts are bounded, its errors are shortened where it would be over 3 MiB even so."""
    info, state = view.info, view.state
    message = workflow_pb2.WorkflowRun(
        run_id=info.run_id,
        status=_RUN_STATUSES[state.status],
        workflow=workflow(info.workflow),
        workflow_name=info.workflow.name,
        context=json_object(state.context),
        steps=map(_step_run, state.steps.values()),
        error=state.error,
        create_time=timestamp(info.created),
        end_time=timestamp(view.ended) if view.ended else None,
        sequence=view.sequence,
        queue=info.queue,
    )
    if message.ByteSize() > MAX_MESSAGE_BYTES:
        for entry in message.steps:
            entry.error = entry.error[:SHORT_ERROR]
    return message


def run_summary(summary: RunSummary) -> workflow_pb2.WorkflowRun:
    """A run in a list."""
    return workflow_pb2.WorkflowRun(
        run_id=summary.run_id,
        status=_RUN_STATUSES[summary.status],
        workflow_name=summary.workflow_name,
        error=summary.error,
        create_time=timestamp(summary.created),
        end_time=timestamp(summary.ended) if summary.ended else None,
        queue=summary.queue,
    )


def _step_run(state: StepState) -> workflow_pb2.StepRun:
    return workflow_pb2.StepRun(
        name=state.name,
        status=_STEP_STATUSES[state.status],
        attempt=state.attempt,
        result=state.result,
        error=state.error,
        start_time=timestamp(state.started) if state.started else None,
        end_time=timestamp(state.ended) if state.ended else None,
        queue=state.queue,
    )
