"""The one table from a failed RPC to an exception; the server's side of it is `headwater_server.transport`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo

from headwater._values.durations import seconds_of
from headwater._values.failures import to_attempts
from headwater.exceptions import (
    AuthenticationError,
    ContextWindowError,
    HeadwaterError,
    MessageTooLargeError,
    ProviderAuthError,
    ProviderError,
    ProviderNotFoundError,
    ProviderRateLimitError,
    ServerOverloadedError,
    ServerUnavailableError,
    StepExecutionError,
    StreamExpiredError,
    StreamInterruptedError,
    StreamTimeoutError,
    ToolError,
    ValidationError,
    WorkflowError,
    WorkflowValidationError,
)
from headwater.v1.error_pb2 import FailedAttempts

if TYPE_CHECKING:
    import grpc

DOMAIN = "headwater.ai"

BY_REASON: dict[str, type[HeadwaterError]] = {
    "INVALID_REQUEST": ValidationError,
    "PROVIDER_NOT_FOUND": ProviderNotFoundError,
    "PROVIDER_AUTH_FAILED": ProviderAuthError,
    "PROVIDER_RATE_LIMITED": ProviderRateLimitError,
    "PROVIDER_QUOTA_EXHAUSTED": ProviderRateLimitError,
    "PROVIDER_UNAVAILABLE": ProviderError,
    "PROVIDER_REJECTED_REQUEST": ProviderError,
    "CONTEXT_WINDOW_EXCEEDED": ContextWindowError,
    "MODEL_NOT_FOUND": ProviderNotFoundError,
    "STREAM_INTERRUPTED": StreamInterruptedError,
    "STREAM_TIMEOUT": StreamTimeoutError,
    "STREAM_CANCELLED": StreamInterruptedError,
    "STREAM_NOT_FOUND": StreamExpiredError,
    "STREAM_EXPIRED": StreamExpiredError,
    "REPLY_TOO_LARGE": MessageTooLargeError,
    "SERVER_DRAINING": ServerUnavailableError,
    "INTERNAL": HeadwaterError,
    "RUN_NOT_FOUND": WorkflowError,
    "RUN_STATE": WorkflowError,
    "WORKFLOW_INVALID": WorkflowValidationError,
    "STEP_FAILED": StepExecutionError,
    "STEP_TIMEOUT": StepExecutionError,
    "WORKER_LOST": StepExecutionError,
    "TOOL_FAILED": ToolError,
    "REQUEST_ID_REUSED": ValidationError,
    "JOURNAL_UNAVAILABLE": ServerUnavailableError,
    "SERVER_OVERLOADED": ServerOverloadedError,
    "CALLER_UNAUTHENTICATED": AuthenticationError,
    "CALLER_FORBIDDEN": AuthenticationError,
    "CALLER_LIMITED": ServerOverloadedError,
}

# A reason that a newer server knows and this client does not: the code says what kind of thing it is.
_BY_CODE_WITH_UNKNOWN_REASON: dict[str, type[HeadwaterError]] = {
    "INVALID_ARGUMENT": ValidationError,
    "RESOURCE_EXHAUSTED": ServerOverloadedError,
    "UNAVAILABLE": ServerUnavailableError,
    "ABORTED": StreamInterruptedError,
    "CANCELLED": StreamInterruptedError,
    "DEADLINE_EXCEEDED": StreamTimeoutError,
    "OUT_OF_RANGE": StreamExpiredError,
    "UNAUTHENTICATED": AuthenticationError,
    "PERMISSION_DENIED": AuthenticationError,
}

# No ErrorInfo: not Headwater spoke, but gRPC itself or a proxy on the way.
_BY_BARE_CODE = _BY_CODE_WITH_UNKNOWN_REASON | {"RESOURCE_EXHAUSTED": MessageTooLargeError}
_LOST_CONNECTION = {"UNAVAILABLE", "INTERNAL", "UNKNOWN"}

_HTTP_STATUS = re.compile(r"http2 header with status: (\d{3})")
_MESSAGE = re.compile(r"messages\[(\d{1,9})\]")
_PART = re.compile(r"\.(?:parts|content)(\[\d+\])?(?:\.(?:image|tool_call|tool_result)(?=\.))?")
_OPTION = re.compile(r"provider_options\.([^.]+)\.([^.\[]+)(.*)")


@dataclass(frozen=True, slots=True)
class CallersNames:
    """The caller's names for fields that the contract has under other names or that the agent filled in.

    Attributes:
        history: number of messages that the history put before the prompt.
        prompt: index of the prompt among the messages; None when there is none.
        options: keywords that became options of the provider.
    """

    history: int
    prompt: int | None
    options: frozenset[str]

    def of(self, path: str) -> str:
        """The caller's name of a field of the request."""
        path = path.removeprefix("agent.")
        message, option = _MESSAGE.match(path), _OPTION.fullmatch(path)
        if message is not None:
            index, rest = int(message[1]), path[message.end() :]
            content = "" if index == self.prompt else ".content"
            rest = _PART.sub(lambda part: content + (part[1] or ""), rest, count=1)
            if index == self.prompt:
                return f"prompt{rest}"
            return f"history[{index}]{rest}" if index < self.history else f"messages[{index}]{rest}"
        if path == "headwater-provider-key":
            return "api_key"
        if path.startswith("headwater-provider-header-"):
            return f"provider_headers.{path.removeprefix('headwater-provider-header-')}"
        if option is not None and option[2] in self.options:
            return f"{option[2]}{option[3]} (an option of {option[1]})"
        return path


def reason_and_metadata(error: grpc.aio.AioRpcError) -> tuple[str | None, dict[str, str]]:
    """The server's reason for the end of a call, with its facts; None and nothing where the end is not its doing."""
    info, *_ = _details(error)
    return (info.reason, dict(info.metadata)) if info is not None else (None, {})


def to_exception(
    error: grpc.aio.AioRpcError,
    *,
    target: str,
    partial_response: str = "",
    started: bool = False,
    names: CallersNames | None = None,
    answers: str = "",
) -> HeadwaterError:
    """The exception for a failed RPC. The traceback of gRPC's own is dropped: it would keep the call and its channel.

    Args:
        error: gRPC's exception.
        target: the server's address, for the message.
        partial_response: the text that had arrived.
        started: whether a chunk had arrived.
        names: the caller's names of the fields that the server refuses.
        answers: the server that answers there instead of Headwater, and the cure; see `other_servers.explain`.
    """
    error.__traceback__ = None
    code = error.code()
    info, violations, retry_after, attempts = _details(error)
    message = error.details() or code.name
    metadata = dict(info.metadata) if info else {}
    kind: type[HeadwaterError]
    if info is not None:
        kind = BY_REASON.get(info.reason) or _BY_CODE_WITH_UNKNOWN_REASON.get(code.name, HeadwaterError)
    elif started and code.name in _LOST_CONNECTION:
        kind, message = StreamInterruptedError, f"the connection to {target} was lost in mid-stream: {message}"
    else:
        kind = _BY_BARE_CODE.get(code.name, HeadwaterError)
        message = f"{answers} ({message})" if answers else _bare_message(code.name, message, target)
    if names is not None and issubclass(kind, ValidationError):
        message, violations = _renamed(message, violations, names)
    result = kind(message, reason=info.reason if info else None, code=code, metadata=metadata, retry_after=retry_after)
    result.attempts = attempts
    if isinstance(result, StreamInterruptedError):
        result.partial_response = partial_response
    if isinstance(result, ValidationError):
        result.violations = violations
    return result


def interrupted(what: str, failure: HeadwaterError, text: str) -> StreamInterruptedError:
    """The failure of a stream that had begun as the end of that stream: `what` happened, after this text."""
    error = StreamInterruptedError(
        f"{what}: {failure}",
        text,
        reason=failure.reason,
        code=failure.code,
        metadata=failure.metadata,
        retry_after=failure.retry_after,
    )
    error.__cause__ = failure
    return error


def _renamed(message: str, violations: list[tuple[str, str]], names: CallersNames) -> tuple[str, list[tuple[str, str]]]:
    """Message and violations in the caller's words; the server's message is kept where they are the same."""
    renamed = [(names.of(field), description) for field, description in violations]
    if renamed != violations:
        message = "; ".join(f"{field}: {description}" if field else description for field, description in renamed)
    return message, renamed


def _bare_message(code: str, message: str, target: str) -> str:
    if status := _HTTP_STATUS.search(message):
        cure = "give the address that `headwater serve` prints, or see that the proxy reaches Headwater"
        return f"a web server or proxy at {target} answered with HTTP status {status[1]}; {cure} ({message})"
    if code == "UNAVAILABLE":
        return f"no Headwater server answers at {target}; start one with `headwater serve`, or set target= ({message})"
    if code == "DEADLINE_EXCEEDED":
        return f"no complete answer from {target} within the timeout of the call; allow more with timeout="
    if code == "UNIMPLEMENTED":
        return f"the server at {target} does not offer this call; it is older than this client, or another ({message})"
    return f"{message} (from {target})"


def _details(
    error: grpc.aio.AioRpcError,
) -> tuple[ErrorInfo | None, list[tuple[str, str]], float | None, list[dict[str, Any]]]:
    """The details of the status: ErrorInfo, the violations, the seconds to wait and the attempts."""
    from grpc_status import rpc_status  # imports gRPC

    try:
        # types-grpcio asks for a sync call; from_call reads code, details and trailing metadata, which both have.
        status = rpc_status.from_call(error)  # type: ignore[arg-type]
    except (ValueError, DecodeError):  # details that contradict the status, or are none: a proxy's, not the server's
        return None, [], None, []
    info: ErrorInfo | None = None
    violations: list[tuple[str, str]] = []
    retry_after: float | None = None
    attempts: list[dict[str, Any]] = []
    for detail in status.details if status is not None else ():
        try:
            if detail.Is(ErrorInfo.DESCRIPTOR):
                unpacked = ErrorInfo()
                detail.Unpack(unpacked)
                info = unpacked if unpacked.domain == DOMAIN else info
            elif detail.Is(BadRequest.DESCRIPTOR):
                bad = BadRequest()
                detail.Unpack(bad)
                violations += [(violation.field, violation.description) for violation in bad.field_violations]
            elif detail.Is(RetryInfo.DESCRIPTOR):
                retry = RetryInfo()
                detail.Unpack(retry)
                retry_after = max(seconds_of(retry.retry_delay), 0.0)
            elif detail.Is(FailedAttempts.DESCRIPTOR):
                failed = FailedAttempts()
                detail.Unpack(failed)
                attempts = to_attempts(failed.attempts)
        except DecodeError:
            continue  # one detail is broken; the others still count
    return info, violations, retry_after, attempts
