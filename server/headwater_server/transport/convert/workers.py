"""Between the contract's workers and the domain's: what a worker says is checked here, and what it gets is made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

from headwater.v1 import agent_service_pb2, worker_service_pb2
from headwater_server.domain.errors import FieldViolation, invalid_request
from headwater_server.domain.json_text import MAX_DEPTH, parse_json, to_json
from headwater_server.domain.limits import MAX_MESSAGE_BYTES, MAX_NAME
from headwater_server.domain.workflow import Outcome, StepError
from headwater_server.transport.convert import workflows as workflow_messages
from headwater_server.workflows.engine.steps import json_object
from headwater_server.workflows.workers.tasks import Assign

MAX_HANDLERS = 1_000
MAX_CONCURRENCY = 10_000
MAX_HELD_TASKS = 20_000
MAX_CHUNK_CHARACTERS = 64 * 1024
MAX_RESULT_BYTES = 1024 * 1024
MAX_ERROR_CHARACTERS = 1_000


@dataclass(frozen=True, slots=True)
class Registration:
    """A checked Register."""

    worker_id: str
    queue: str
    handlers: frozenset[str]
    concurrency: int
    held_task_ids: tuple[str, ...]


def parse_register(message: worker_service_pb2.Register) -> Registration:
    """Who a worker is. Raises HeadwaterError (INVALID_REQUEST) that names every bad field."""
    bad = [*_bad_name("worker_id", message.worker_id), *_bad_name("queue", message.queue)]
    if not 1 <= len(message.handlers) <= MAX_HANDLERS:
        bad.append(FieldViolation("register.handlers", f"must have 1 to {MAX_HANDLERS} names"))
    for index, name in enumerate(message.handlers[:MAX_HANDLERS]):
        bad += _bad_name(f"handlers[{index}]", name)
    if not 0 <= message.concurrency <= MAX_CONCURRENCY:
        bad.append(FieldViolation("register.concurrency", f"must be 1 to {MAX_CONCURRENCY}, or 0 for 1"))
    if len(message.task_ids) > MAX_HELD_TASKS:
        bad.append(FieldViolation("register.task_ids", f"must have at most {MAX_HELD_TASKS} ids"))
    for index, task_id in enumerate(message.task_ids[:MAX_HELD_TASKS]):
        bad += _bad_name(f"task_ids[{index}]", task_id)
    if bad:
        raise invalid_request(bad)
    return Registration(
        message.worker_id,
        message.queue,
        frozenset(message.handlers),
        message.concurrency or 1,
        tuple(message.task_ids),
    )


def _bad_name(field: str, name: str) -> Iterator[FieldViolation]:
    if not 1 <= len(name) <= MAX_NAME:
        yield FieldViolation(f"register.{field}", f"must have 1 to {MAX_NAME} characters")


def check_chunk(message: worker_service_pb2.TaskChunk) -> None:
    """Raises HeadwaterError (INVALID_REQUEST) for a chunk that is too long."""
    bad = [
        FieldViolation(f"chunk.{name}", f"has more than {MAX_CHUNK_CHARACTERS} characters; send it in pieces")
        for name in ("content", "thinking")
        if len(getattr(message, name)) > MAX_CHUNK_CHARACTERS
    ]
    if bad:
        raise invalid_request(bad)


def parse_result(message: worker_service_pb2.TaskResult) -> Outcome | StepError:
    """How a task ended. A result that is not as the contract wants it is a failure of its step, which says why."""
    kind = message.WhichOneof("outcome")
    if kind == "error":
        return _step_error(message.error)
    if kind is None:
        return StepError("its worker sent neither a value nor an error", retryable=False)
    try:
        _parse("value", message.value)
        changes = _parse("context_changes", message.context_changes or "{}", MAX_DEPTH + 1)
        if not isinstance(changes, dict):
            _refuse("context_changes", 'must be a JSON object, such as {"key": "value"}')
        deleted = tuple(dict.fromkeys(message.deleted_keys))
        if sum(len(key) for key in deleted) > MAX_RESULT_BYTES:
            _refuse("deleted_keys", f"are larger than {MAX_RESULT_BYTES} bytes")
        for key in deleted:
            if key in changes:
                _refuse("deleted_keys", f"has `{key[:MAX_NAME]}`, which is in context_changes too")
    except StepError as error:
        return error
    return Outcome(message.value.strip(), {key: to_json(value) for key, value in changes.items()}, deleted)


def _step_error(error: worker_service_pb2.TaskError) -> StepError:
    message = error.message or "its handler failed and did not say why"
    if error.type and error.type not in message:
        message = f"{error.type}: {message}"
    if len(message) > MAX_ERROR_CHARACTERS:
        message = message[: MAX_ERROR_CHARACTERS - 3] + "..."
    return StepError(message, retryable=error.retryable)


def _parse(field: str, text: str, depth: int = MAX_DEPTH) -> Any:
    """The JSON value. Raises StepError."""
    size = len(text) if text.isascii() else len(text.encode())
    if size > MAX_RESULT_BYTES:
        _refuse(field, f"has {size} bytes, more than {MAX_RESULT_BYTES}; store it elsewhere and return where it is")
    try:
        return parse_json(text, depth)
    except ValueError as error:
        _refuse(field, str(error))


def _refuse(field: str, description: str) -> NoReturn:
    raise StepError(f"its worker sent a result whose {field} {description}", retryable=False)


def task(assign: Assign) -> worker_service_pb2.Task:
    """A task as a message. Raises StepError when it is too large to be sent."""
    spec = assign.task
    message = worker_service_pb2.Task(
        task_id=assign.task_id,
        run_id=spec.run_id,
        workflow_name=spec.workflow_name,
        step=workflow_messages.step(spec.step),
        attempt=spec.attempt,
        context=json_object(spec.context),
        dependency_results=json_object(spec.dependencies),
        agent=agent_service_pb2.StreamRequest.FromString(spec.agent) if spec.agent else None,
    )
    if message.ByteSize() > MAX_MESSAGE_BYTES:
        raise StepError(
            f"it has {message.ByteSize()} bytes of context, results and definition, "
            f"more than {MAX_MESSAGE_BYTES} bytes, which a message may have; "
            "keep references in the context, not contents",
            retryable=False,
        )
    return message
