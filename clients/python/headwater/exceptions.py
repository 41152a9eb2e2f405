"""All errors as exceptions, each a `HeadwaterError`; and `Failure`, the error of a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import grpc

__all__ = [
    "AuthenticationError",
    "ContextWindowError",
    "Failure",
    "ForkError",
    "HeadwaterError",
    "MessageTooLargeError",
    "NonRetryableError",
    "ProviderAuthError",
    "ProviderError",
    "ProviderNotFoundError",
    "ProviderRateLimitError",
    "ServerOverloadedError",
    "ServerUnavailableError",
    "StepExecutionError",
    "StreamExpiredError",
    "StreamInterruptedError",
    "StreamTimeoutError",
    "ToolError",
    "ValidationError",
    "WorkflowCancelledError",
    "WorkflowError",
    "WorkflowTimeoutError",
    "WorkflowValidationError",
]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a step, a run or a tool failed; `str()` is its message.

    Attributes:
        reason: name of the condition, such as `STEP_FAILED` or `PROVIDER_RATE_LIMITED` (error.proto lists them).
        message: one sentence for people.
        type: kind of the exception, such as `ValueError`; empty when none was raised.
        non_retryable: no further attempt could succeed.
        retry_delay: seconds to wait before another attempt at least; None when it is unknown.
        provider: facts of a provider that failed: `provider`, `model`, `http_status`, `code` and `request_id`, as far
            as they are known.
        cause: the failure that led to this one.
    """

    reason: str
    message: str
    type: str = ""
    non_retryable: bool = False
    retry_delay: float | None = None
    provider: Mapping[str, Any] | None = None
    cause: Failure | None = None

    def __str__(self) -> str:
        return self.message


class HeadwaterError(Exception):
    """Something went wrong; the base of all exceptions of this package.

    Attributes:
        reason: name of the condition, such as `PROVIDER_NOT_FOUND` (error.proto lists them); None when no server gave
            one.
        code: the gRPC status; None when the error is the client's own.
        metadata: further facts from the server, as text. Those of a provider that failed are attributes too, None as
            far as the server does not know them.
        retry_after: seconds after which a new try may succeed; None when it is unknown.
        attempts: those that the server made, where there were several: dicts with `provider`, `model`, `reason`,
            `message`, and the seconds of `duration` and `wait`.
    """

    attempts: Sequence[Mapping[str, Any]] = ()

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        code: grpc.StatusCode | None = None,
        metadata: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.code = code
        self.metadata = dict(metadata or {})
        self.retry_after = retry_after

    @property
    def provider(self) -> str | None:
        """Name of the provider."""
        return self.metadata.get("provider")

    @property
    def model(self) -> str | None:
        """The model that was asked for."""
        return self.metadata.get("model")

    @property
    def http_status(self) -> int | None:
        """Status of the provider's HTTP answer."""
        status = self.metadata.get("http_status", "")
        return int(status) if status.isascii() and status.isdigit() and len(status) <= 9 else None

    @property
    def provider_code(self) -> str | None:
        """The provider's own name of the error."""
        return self.metadata.get("provider_code")

    @property
    def provider_request_id(self) -> str | None:
        """The provider's id of the request, for its support desk."""
        return self.metadata.get("provider_request_id")


class ValidationError(HeadwaterError, ValueError):
    """An argument has a bad value; the message names it and the cure.

    Attributes:
        violations: each bad field with its mistake.
    """

    def __init__(
        self,
        message: str,
        violations: Sequence[tuple[str, str]] = (),
        *,
        reason: str | None = None,
        code: grpc.StatusCode | None = None,
        metadata: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, reason=reason, code=code, metadata=metadata, retry_after=retry_after)
        self.violations = list(violations)


class ProviderError(HeadwaterError):
    """A provider failed or refused."""


class ProviderNotFoundError(ProviderError):
    """No such provider is configured, or none has the model."""


class ProviderAuthError(ProviderError):
    """The provider refuses the key that the server has for it, or the server has none."""


class ProviderRateLimitError(ProviderError):
    """The provider limits the rate (`retry_after` in seconds, where it said), or the account has no quota left."""


class ContextWindowError(ProviderError):
    """The conversation does not fit into the model's context window."""


class StreamInterruptedError(HeadwaterError):
    """A stream ended before its reply was complete.

    Attributes:
        partial_response: the text that had arrived; None when unknown.
    """

    def __init__(
        self,
        message: str,
        partial_response: str | None = None,
        *,
        reason: str | None = None,
        code: grpc.StatusCode | None = None,
        metadata: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, reason=reason, code=code, metadata=metadata, retry_after=retry_after)
        self.partial_response = partial_response


class StreamTimeoutError(StreamInterruptedError, TimeoutError):
    """The reply, or its next chunk, did not come in time."""


class StreamExpiredError(HeadwaterError):
    """No stream with that id is running, or what was asked for is gone."""


class ServerUnavailableError(HeadwaterError, ConnectionError):
    """The Headwater server cannot be reached, or takes no new work."""


class ServerOverloadedError(HeadwaterError):
    """The Headwater server or this caller is at one of its limits; `retry_after` says when to try again."""


class MessageTooLargeError(HeadwaterError):
    """A request over 32 MiB, or a reply that does not fit into one message."""


class AuthenticationError(HeadwaterError):
    """The Headwater server does not let this caller in; check `token`."""


class ForkError(HeadwaterError):
    """This process was forked while its parent had a connection open; gRPC cannot be used in it."""


class ToolError(HeadwaterError):
    """The model asked for tools more often than `max_tool_rounds` allows, or a tool cannot be used as it is.

    Attributes:
        partial_response: the text that had arrived; None when unknown.
    """

    def __init__(
        self,
        message: str,
        partial_response: str | None = None,
        *,
        reason: str | None = None,
        code: grpc.StatusCode | None = None,
        metadata: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, reason=reason, code=code, metadata=metadata, retry_after=retry_after)
        self.partial_response = partial_response


class WorkflowError(HeadwaterError):
    """A workflow or a run cannot do what was asked: it is not known, or in another state."""


class WorkflowValidationError(WorkflowError, ValidationError):
    """The definition of a workflow has mistakes; `violations` names each."""


class WorkflowCancelledError(WorkflowError):
    """The run was cancelled by somebody else."""


class WorkflowTimeoutError(WorkflowError, TimeoutError):
    """The run took longer than its caller allowed, and was cancelled."""


class StepExecutionError(WorkflowError):
    """A step of a run failed.

    Attributes:
        step: name of the step; None when unknown.
        run_id: id of the run; None when unknown.
        failure: why it failed, as facts; None when unknown.
    """

    def __init__(
        self,
        message: str,
        *,
        step: str | None = None,
        run_id: str | None = None,
        failure: Failure | None = None,
        reason: str | None = None,
        code: grpc.StatusCode | None = None,
        metadata: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, reason=reason, code=code, metadata=metadata, retry_after=retry_after)
        self.step = step
        self.run_id = run_id
        self.failure = failure


class NonRetryableError(HeadwaterError):
    """To be raised by a handler whose failure no further attempt would mend."""
