"""From a domain error to a gRPC status with google.rpc details; the contract itself says which code a reason has.

Sizes: gRPC sends status message and details as trailers, and past 8,192 bytes of them drops the whole status at
random. So a message is at most 1 KiB after percent-encoding, and the details are at most 4 KiB.
"""

from __future__ import annotations

import re

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import EnumValueDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from headwater.v1 import error_pb2
from headwater_server.domain.attempts import Attempt
from headwater_server.domain.errors import FieldViolation, HeadwaterError, Reason
from headwater_server.transport.convert.failures import attempt

DOMAIN = "headwater.ai"
DETAILS_KEY = "grpc-status-details-bin"
MAX_MESSAGE = 1024
MAX_VIOLATIONS = 1500
MAX_METADATA = 1200
MAX_ATTEMPTS = 1500
MAX_ATTEMPT_MESSAGE = 200

_STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}
_KEY = re.compile(r"[0-9a-z_.-]+")
_VALUE = re.compile(r"[ -~]*")


def _facts_of(value: EnumValueDescriptor) -> error_pb2.ErrorFacts:
    facts: error_pb2.ErrorFacts = value.GetOptions().Extensions[error_pb2.error_facts]  # type: ignore[index]  # its stub lacks the type
    return facts


CODES: dict[Reason, grpc.StatusCode] = {
    Reason(value.name.removeprefix("ERROR_REASON_")): _STATUS_CODES[_facts_of(value).code]
    for value in error_pb2.ErrorReason.DESCRIPTOR.values
    if value.number != error_pb2.ERROR_REASON_UNSPECIFIED
}


def code_of(error: HeadwaterError) -> grpc.StatusCode:
    """The status code that the error is sent with."""
    return CODES[error.reason]


def end(context: grpc.aio.ServicerContext[Message, Message], error: HeadwaterError) -> None:
    """Gives the call the error's status, with which it ends when its handler returns.

    `context.abort` would end it at once, but gRPC keeps the exception that it raises, whose traceback has the frames of
    the handler and so the request: a cycle that only the garbage collector frees.
    """
    code = code_of(error)
    message = _bounded(error.message)
    status = status_pb2.Status(code=_number(code), message=message, details=_details(error))
    _set(context, code, message, ((DETAILS_KEY, status.SerializeToString()),))


def end_alike(context: grpc.aio.ServicerContext[Message, Message], error: grpc.aio.AioRpcError) -> None:
    """Gives the call the status of another one, details and all; see `end`."""
    trailers = tuple((key, value) for key, value in error.trailing_metadata() or () if is_passable(key, value))
    _set(context, error.code(), error.details() or "", trailers)


def _set(
    context: grpc.aio.ServicerContext[Message, Message],
    code: grpc.StatusCode,
    message: str,
    trailers: tuple[tuple[str, str | bytes], ...],
) -> None:
    context.set_code(code)
    context.set_details(message)
    context.set_trailing_metadata(trailers)


def is_passable(key: str, value: str | bytes) -> bool:
    """Whether an entry of metadata can go from one call to another.

    All can that is not gRPC's own, except what gRPC takes from a caller and does not send: it would fail the call.
    """
    if key != DETAILS_KEY and key.startswith(("grpc-", ":", "user-agent", "content-type")):
        return False
    is_sendable = isinstance(value, bytes) or _VALUE.fullmatch(value) is not None
    return is_sendable and _KEY.fullmatch(key) is not None


def _number(code: grpc.StatusCode) -> int:
    return int(code_pb2.Code.Value(code.name))


def _details(error: HeadwaterError) -> list[AnyMessage]:
    info = error_details_pb2.ErrorInfo(reason=error.reason.value, domain=DOMAIN)
    for key, value in error.metadata.items():
        if info.ByteSize() < MAX_METADATA:
            info.metadata[_cut(key, 64)] = _cut(value, 200)
    details: list[Message] = [info]
    if error.violations:
        details.append(_bad_request(error.violations))
    elif error.attempts:
        details.append(_attempts(error.attempts))
    if error.retry_after_seconds is not None:
        delay = Duration()
        delay.FromNanoseconds(int(error.retry_after_seconds * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    return [_packed(detail) for detail in details]


def _bad_request(violations: tuple[FieldViolation, ...]) -> error_details_pb2.BadRequest:
    """The violations that fit, and how many were left out."""
    message = error_details_pb2.BadRequest()
    for i, violation in enumerate(violations):
        if message.ByteSize() > MAX_VIOLATIONS:
            message.field_violations.add(field="", description=f"and {len(violations) - i} more")
            break
        message.field_violations.add(field=_cut(violation.field, 200), description=_cut(violation.description, 300))
    return message


def _attempts(attempts: tuple[Attempt, ...]) -> error_pb2.FailedAttempts:
    """The attempts that fit."""
    message = error_pb2.FailedAttempts()
    for each in attempts:
        message.attempts.append(attempt(each, MAX_ATTEMPT_MESSAGE))
        if message.ByteSize() > MAX_ATTEMPTS:
            del message.attempts[-1]
            break
    return message


def _cut(text: str, size: int) -> str:
    """The text, cut to at most `size` bytes of UTF-8."""
    return text.encode()[:size].decode(errors="ignore")


def _packed(detail: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(detail)
    return packed


def _bounded(message: str) -> str:
    """The message, cut where its percent-encoded form would pass MAX_MESSAGE bytes."""
    size = 0
    for i, character in enumerate(message):
        size += 1 if " " <= character <= "~" and character != "%" else 3 * len(character.encode())
        if size > MAX_MESSAGE - 3:
            return message[:i] + "..."
    return message
