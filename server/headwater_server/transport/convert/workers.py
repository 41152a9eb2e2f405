"""Between the contract's workers and the domain's: checks a worker's messages, and makes the messages to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn, TypeVar

from headwater.v1 import error_pb2, worker_service_pb2
from headwater_server.domain.errors import FieldViolation, Reason, invalid, invalid_request
from headwater_server.domain.failure import Failure, StepError, final_step_error
from headwater_server.domain.json_text import MAX_DEPTH, check_json, members
from headwater_server.domain.limits import MAX_MESSAGE_BYTES, MAX_NAME
from headwater_server.domain.workflow import Outcome
from headwater_server.transport.convert import workflows as workflow_messages
from headwater_server.transport.convert.action_replies import parse_action_reply
from headwater_server.transport.convert.agents import agent_message
from headwater_server.transport.convert.durations import duration
from headwater_server.transport.convert.failures import parse_failure
from headwater_server.workflows.engine.steps import json_object
from headwater_server.workflows.workers.tasks import Assign, HandedBack

T = TypeVar("T")

MAX_HANDLERS = 1_000
MAX_CONCURRENCY = 10_000
MAX_HELD_TASKS = 20_000
MAX_CHUNK_CHARACTERS = 64 * 1024
MAX_POSITION = 2_000_000_000
MAX_RESULT_BYTES = 1024 * 1024
MAX_PROGRESS_BYTES = 64 * 1024
MAX_REASON = 1_000
MAX_FEATURES = 100
MAX_FEATURE_CHARACTERS = 64

CHUNK_ACKS = "chunk_acks"
FEATURES = frozenset({"drain", "waiting", "progress", CHUNK_ACKS})
"""Optional parts of the protocol that this server knows."""


@dataclass(frozen=True, slots=True)
class Registration:
    """A checked WorkerRegistration.

    Attributes:
        features: the optional parts of the protocol that worker and server both know.
    """

    worker_id: str
    queue: str
    handlers: frozenset[str]
    concurrency: int
    held_task_ids: tuple[str, ...]
    client_version: str
    features: tuple[str, ...]


def parse_registration(message: worker_service_pb2.WorkerRegistration) -> Registration:
    """A worker and its handlers. Raises HeadwaterError (INVALID_REQUEST) that names every bad field."""
    bad = [*_bad_name("worker_id", message.worker_id), *_bad_name("queue", message.queue)]
    if not 1 <= len(message.handlers) <= MAX_HANDLERS:
        bad.append(FieldViolation("registration.handlers", f"must have 1 to {MAX_HANDLERS} names"))
    for index, name in enumerate(message.handlers[:MAX_HANDLERS]):
        bad += _bad_name(f"handlers[{index}]", name)
    if not 0 <= message.concurrency <= MAX_CONCURRENCY:
        bad.append(FieldViolation("registration.concurrency", f"must be 1 to {MAX_CONCURRENCY}, or 0 for 1"))
    if len(message.task_ids) > MAX_HELD_TASKS:
        bad.append(FieldViolation("registration.task_ids", f"must have at most {MAX_HELD_TASKS} ids"))
    for index, task_id in enumerate(message.task_ids[:MAX_HELD_TASKS]):
        bad += _bad_name(f"task_ids[{index}]", task_id)
    if len(message.client_version) > MAX_NAME:
        bad.append(FieldViolation("registration.client_version", f"is longer than {MAX_NAME} characters"))
    bad += _bad_features(message.features)
    if bad:
        raise invalid_request(bad)
    return Registration(
        message.worker_id,
        message.queue,
        frozenset(message.handlers),
        message.concurrency or 1,
        tuple(message.task_ids),
        message.client_version,
        tuple(name for name in dict.fromkeys(message.features) if name in FEATURES),
    )


def _bad_features(features: Sequence[str]) -> Iterator[FieldViolation]:
    if len(features) > MAX_FEATURES:
        yield FieldViolation("registration.features", f"must have at most {MAX_FEATURES} names")
    for index, name in enumerate(features[:MAX_FEATURES]):
        if not 1 <= len(name) <= MAX_FEATURE_CHARACTERS:
            text = f"must have 1 to {MAX_FEATURE_CHARACTERS} characters"
            yield FieldViolation(f"registration.features[{index}]", text)


def registered(
    registration: Registration,
    heartbeat_interval_seconds: float,
    heartbeat_timeout_seconds: float,
    unwanted: Sequence[str],
    server_version: str,
) -> worker_service_pb2.AttachResponse:
    """The answer to a registration."""
    return worker_service_pb2.AttachResponse(
        registered=worker_service_pb2.WorkerRegistered(
            heartbeat_interval=duration(heartbeat_interval_seconds),
            heartbeat_timeout=duration(heartbeat_timeout_seconds),
            unwanted_task_ids=unwanted,
            server_version=server_version,
            features=registration.features,
        )
    )


def _bad_name(field: str, name: str) -> Iterator[FieldViolation]:
    if not 1 <= len(name) <= MAX_NAME:
        yield FieldViolation(f"registration.{field}", f"must have 1 to {MAX_NAME} characters")


def check_waiting(message: worker_service_pb2.TaskWaiting) -> None:
    """Raises HeadwaterError (INVALID_REQUEST) for an id that is too long."""
    if len(message.run_id) > MAX_NAME:
        raise invalid("waiting.run_id", f"must have at most {MAX_NAME} characters")


def check_progress(message: worker_service_pb2.TaskProgress) -> None:
    """Raises HeadwaterError (INVALID_REQUEST) for one that is no JSON value or too large."""
    text = message.progress_json
    if len(text.encode()) > MAX_PROGRESS_BYTES:
        raise invalid("progress.progress_json", f"has more than {MAX_PROGRESS_BYTES} bytes; store it elsewhere")
    try:
        check_json(text)
    except ValueError as error:
        raise invalid("progress.progress_json", str(error)) from error


def check_chunk(message: worker_service_pb2.TaskChunk) -> None:
    """Raises HeadwaterError (INVALID_REQUEST) for a chunk that is too long, or whose position cannot be."""
    bad = [
        FieldViolation(f"chunk.{name}", f"has more than {MAX_CHUNK_CHARACTERS} characters; send it in pieces")
        for name in ("content", "thinking")
        if len(getattr(message, name)) > MAX_CHUNK_CHARACTERS
    ]
    if len(message.task_id) > MAX_NAME:
        bad.append(FieldViolation("chunk.task_id", f"must have at most {MAX_NAME} characters"))
    if not 0 <= message.position <= MAX_POSITION:
        bad.append(FieldViolation("chunk.position", f"must be 0 to {MAX_POSITION}"))
    if bad:
        raise invalid_request(bad)


def parse_capacity(message: worker_service_pb2.WorkerCapacity) -> int:
    """Raises HeadwaterError (INVALID_REQUEST) for a number that is out of its range."""
    if not 0 <= message.concurrency <= MAX_CONCURRENCY:
        raise invalid("capacity.concurrency", f"must be 0 to {MAX_CONCURRENCY}")
    return message.concurrency


def parse_result(message: worker_service_pb2.TaskResult) -> Outcome | Failure | HandedBack:
    """How a task ended. A result that is not as the contract wants it is a failure of its step, which says why."""
    kind = message.WhichOneof("outcome")
    try:
        if kind == "failure":
            return _parse_failure(message.failure)
        if kind == "handed_back":
            return HandedBack(message.handed_back.begun, message.handed_back.reason[:MAX_REASON])
        if kind is None:
            raise final_step_error("its worker sent neither a result nor a failure")
        _parse("result_json", message.result_json, check_json)
        changes = _parse("context_changes_json", message.context_changes_json or "{}", _changes)
        deleted = tuple(dict.fromkeys(message.deleted_keys))
        if sum(len(key) for key in deleted) > MAX_RESULT_BYTES:
            _refuse("deleted_keys", f"are larger than {MAX_RESULT_BYTES} bytes")
        for key in deleted:
            if key in changes:
                _refuse("deleted_keys", f"has `{key[:MAX_NAME]}`, which is in context_changes_json too")
    except StepError as error:
        return error.failure
    reply = parse_action_reply(message.reply) if message.HasField("reply") else None
    return Outcome(message.result_json.strip(), changes, deleted, reply)


def _parse_failure(message: error_pb2.Failure) -> Failure:
    """Raises StepError for one with a bad delay."""
    try:
        failure = parse_failure(message, Reason.STEP_FAILED)
    except ValueError as error:
        raise final_step_error(f"its worker sent a failure that {error}") from error
    return failure if failure.message else replace(failure, message="its handler failed and gave no message")


def _changes(text: str) -> dict[str, str]:
    """The changed keys of a context, whose values may be as deep as they may be in the context."""
    return members(text, MAX_DEPTH + 1)


def _parse(field: str, text: str, parse: Callable[[str], T]) -> T:
    """The parsed JSON. Raises StepError."""
    size = len(text) if text.isascii() else len(text.encode())
    if size > MAX_RESULT_BYTES:
        _refuse(field, f"has {size} bytes, more than {MAX_RESULT_BYTES}; store it elsewhere and return where it is")
    try:
        return parse(text)
    except ValueError as error:
        _refuse(field, str(error))


def _refuse(field: str, description: str) -> NoReturn:
    raise final_step_error(f"its worker sent a result whose {field} {description}")


def task(assign: Assign) -> worker_service_pb2.WorkerTask:
    """A task as a message. Raises StepError when it is too large to be sent."""
    spec = assign.task
    message = worker_service_pb2.WorkerTask(
        task_id=assign.task_id,
        run_id=spec.run_id,
        workflow_name=spec.workflow_name,
        step=workflow_messages.step(spec.step),
        attempt=spec.attempt,
        idempotency_key=spec.idempotency_key,
        context_json=json_object(spec.context),
        dependency_results_json=json_object(spec.dependencies),
        agent=agent_message(spec.agent),
        progress_json=spec.progress,
        request_id=spec.origin.get("x-request-id", ""),
        traceparent=spec.origin.get("traceparent", ""),
        tracestate=spec.origin.get("tracestate", ""),
    )
    if message.ByteSize() > MAX_MESSAGE_BYTES:
        raise final_step_error(
            f"it has {message.ByteSize()} bytes of context, results and definition, "
            f"more than {MAX_MESSAGE_BYTES} bytes, which a message may have; "
            "keep references in the context, not contents"
        )
    return message
