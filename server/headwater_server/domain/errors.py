"""Every error that can reach a caller: one exception, told apart by its reason.

The reasons are those of `protos/headwater/v1/error.proto`; `transport.status` maps each to a gRPC status.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headwater_server.domain.attempts import Attempt


class Reason(StrEnum):
    """Why a call failed; the values travel as the reason of google.rpc.ErrorInfo."""

    INVALID_REQUEST = "INVALID_REQUEST"
    PROVIDER_NOT_FOUND = "PROVIDER_NOT_FOUND"
    PROVIDER_AUTH_FAILED = "PROVIDER_AUTH_FAILED"
    PROVIDER_RATE_LIMITED = "PROVIDER_RATE_LIMITED"
    PROVIDER_QUOTA_EXHAUSTED = "PROVIDER_QUOTA_EXHAUSTED"
    PROVIDER_UNAVAILABLE = "PROVIDER_UNAVAILABLE"
    PROVIDER_REJECTED_REQUEST = "PROVIDER_REJECTED_REQUEST"
    CONTEXT_WINDOW_EXCEEDED = "CONTEXT_WINDOW_EXCEEDED"
    MODEL_NOT_FOUND = "MODEL_NOT_FOUND"
    STREAM_INTERRUPTED = "STREAM_INTERRUPTED"
    STREAM_TIMEOUT = "STREAM_TIMEOUT"
    STREAM_CANCELLED = "STREAM_CANCELLED"
    STREAM_NOT_FOUND = "STREAM_NOT_FOUND"
    STREAM_EXPIRED = "STREAM_EXPIRED"
    REPLY_TOO_LARGE = "REPLY_TOO_LARGE"
    SERVER_DRAINING = "SERVER_DRAINING"
    INTERNAL = "INTERNAL"
    RUN_NOT_FOUND = "RUN_NOT_FOUND"
    RUN_STATE = "RUN_STATE"
    WORKFLOW_INVALID = "WORKFLOW_INVALID"
    STEP_FAILED = "STEP_FAILED"
    REQUEST_ID_REUSED = "REQUEST_ID_REUSED"
    STEP_TIMEOUT = "STEP_TIMEOUT"
    WORKER_LOST = "WORKER_LOST"
    TOOL_FAILED = "TOOL_FAILED"
    JOURNAL_UNAVAILABLE = "JOURNAL_UNAVAILABLE"
    SERVER_OVERLOADED = "SERVER_OVERLOADED"
    CALLER_UNAUTHENTICATED = "CALLER_UNAUTHENTICATED"
    CALLER_FORBIDDEN = "CALLER_FORBIDDEN"
    CALLER_LIMITED = "CALLER_LIMITED"


PROVIDER_FAILURES = frozenset(
    (
        Reason.PROVIDER_AUTH_FAILED,
        Reason.PROVIDER_RATE_LIMITED,
        Reason.PROVIDER_QUOTA_EXHAUSTED,
        Reason.PROVIDER_UNAVAILABLE,
        Reason.PROVIDER_REJECTED_REQUEST,
        Reason.STREAM_INTERRUPTED,
        Reason.STREAM_TIMEOUT,
    )
)
"""The reasons of failures that are the provider's, not its caller's."""


PROVIDER_FAULTS = frozenset(
    {
        Reason.PROVIDER_AUTH_FAILED,
        Reason.PROVIDER_RATE_LIMITED,
        Reason.PROVIDER_QUOTA_EXHAUSTED,
        Reason.PROVIDER_UNAVAILABLE,
        Reason.PROVIDER_REJECTED_REQUEST,
        Reason.CONTEXT_WINDOW_EXCEEDED,
        Reason.MODEL_NOT_FOUND,
    }
)
"""The reasons that are a provider's fault, not the server's."""


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """A field of the request with a bad value: its path (`messages[2].parts`), and what is wrong with its cure."""

    field: str
    description: str


class HeadwaterError(Exception):
    """An error for the caller.

    Attributes:
        reason: the kind of error.
        message: one sentence for people, with the cure where there is one.
        metadata: facts for programs; `error.proto` lists the keys.
        violations: the bad fields, for INVALID_REQUEST.
        retry_after_seconds: how long to wait; None where waiting does not help or the time is unknown.
        attempts: all that were made, where there was more than one.
    """

    attempts: tuple[Attempt, ...] = ()

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[FieldViolation] = (),
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self.retry_after_seconds = retry_after_seconds

    def about(self, **facts: str) -> HeadwaterError:
        """The error, with facts that it does not have yet; the message of a provider's fault begins with its name."""
        for key, value in facts.items():
            if value and key not in self.metadata:
                self.metadata[key] = value
                if key == "provider" and self.reason in PROVIDER_FAULTS:
                    self.message = f"{value}: {self.message}"
                    self.args = (self.message,)
        return self

    def again(self) -> HeadwaterError:
        """The same error for another caller: a traceback belongs to one raise, and keeps alive what it passed."""
        copy = HeadwaterError(
            self.reason,
            self.message,
            metadata=self.metadata,
            violations=self.violations,
            retry_after_seconds=self.retry_after_seconds,
        )
        copy.attempts = self.attempts
        copy.__cause__ = self.__cause__
        return copy

    def renamed(self, rename: Callable[[str], str]) -> HeadwaterError:
        """The error with other paths of its bad fields; itself when it names none."""
        if not self.violations:
            return self
        violations = [FieldViolation(rename(violation.field), violation.description) for violation in self.violations]
        return HeadwaterError(
            self.reason,
            _sentences(violations),
            metadata=self.metadata,
            violations=violations,
            retry_after_seconds=self.retry_after_seconds,
        )


def invalid(field: str, description: str) -> HeadwaterError:
    """The error for one bad field."""
    return invalid_request([FieldViolation(field, description)])


def invalid_request(violations: Sequence[FieldViolation]) -> HeadwaterError:
    """The error for one or several bad fields; the message repeats them for people."""
    return HeadwaterError(Reason.INVALID_REQUEST, _sentences(violations), violations=violations)


def _sentences(violations: Sequence[FieldViolation]) -> str:
    return "; ".join(f"{violation.field}: {violation.description}" for violation in violations)


def draining() -> HeadwaterError:
    """The error for new work, or work cut short, in a server that shuts down."""
    return HeadwaterError(Reason.SERVER_DRAINING, "the server is shutting down; try again", retry_after_seconds=1.0)


def overloaded(message: str, retry_after_seconds: float = 1.0, **facts: str) -> HeadwaterError:
    """The error for a call that is refused because others have taken what there is."""
    return HeadwaterError(Reason.SERVER_OVERLOADED, message, metadata=facts, retry_after_seconds=retry_after_seconds)


def restarting() -> HeadwaterError:
    """The error for a call that belongs to another process of this server, which does not take calls just now."""
    return HeadwaterError(
        Reason.SERVER_DRAINING,
        "the process of the server that this call is for is restarting; try again",
        retry_after_seconds=1.0,
    )
