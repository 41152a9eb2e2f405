"""Failures of steps, runs and tools as facts, and the facts that the contract states about each reason."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf.duration_pb2 import Duration

from headwater._values.durations import seconds_of, to_duration
from headwater._values.threads import is_ctrl_c
from headwater.exceptions import (
    AuthenticationError,
    Failure,
    ForkError,
    HeadwaterError,
    MessageTooLargeError,
    NonRetryableError,
    ValidationError,
)
from headwater.v1 import error_pb2

MAX_CAUSES = 8
MAX_MESSAGE = 1_000
MAX_TYPE = 256
_SHOWN_LEAVES = 8
LONGEST_DELAY_SECONDS = 86_400.0

_FINAL = (NonRetryableError, ValidationError, MessageTooLargeError, AuthenticationError, ForkError)
_PREFIX = "ERROR_REASON_"
FACTS: Mapping[str, error_pb2.ErrorFacts] = {
    value.name.removeprefix(_PREFIX): value.GetOptions().Extensions[error_pb2.error_facts]  # type: ignore[index]
    for value in error_pb2.ErrorReason.DESCRIPTOR.values
}
"""The contract's facts about each reason: the code of its status, and whether another try can succeed."""


def to_failure(message: error_pb2.Failure) -> Failure:
    """A failure as the service sends it; a reason that this client does not know is its number."""
    known = error_pb2.ErrorReason.DESCRIPTOR.values_by_number.get(message.reason)
    return Failure(
        reason=known.name.removeprefix(_PREFIX) if known is not None else str(message.reason),
        message=message.message,
        type=message.type,
        non_retryable=message.non_retryable,
        retry_delay=seconds_of(message.retry_delay) if message.HasField("retry_delay") else None,
        provider={field.name: value for field, value in message.provider.ListFields()}
        if message.HasField("provider")
        else None,
        cause=to_failure(message.cause) if message.HasField("cause") else None,
    )


def to_attempts(messages: Iterable[error_pb2.Attempt]) -> list[dict[str, Any]]:
    """Attempts that failed: `provider`, `model`, `reason`, `message`, and the seconds of `duration` and `wait`."""
    found = []
    for message in messages:
        failure = to_failure(message.failure)
        facts = {"provider": message.provider, "model": message.model, "reason": failure.reason}
        seconds = {"duration": seconds_of(message.duration), "wait": seconds_of(message.wait)}
        found.append({**facts, "message": failure.message, **seconds})
    return found


def failure_message(
    text: str, *, reason: str = "STEP_FAILED", kind: str = "", non_retryable: bool = False
) -> error_pb2.Failure:
    """A failure to send. Cuts long text, and replaces characters that are not text."""
    return error_pb2.Failure(
        reason=error_pb2.ErrorReason.Value(_PREFIX + reason),  # type: ignore[arg-type]
        message=_clean(text)[:MAX_MESSAGE],
        type=_clean(kind)[:MAX_TYPE],
        non_retryable=non_retryable,
    )


def failure_of(error: BaseException, causes: int = MAX_CAUSES) -> error_pb2.Failure:
    """An exception as a failure to be sent, with the exceptions that it was raised from.

    Of a HeadwaterError the reason and the facts of its provider are sent too. A group of exceptions counts as those in
    it: one that no further attempt could change is enough for all. An attribute `retry_after`, in seconds,
    is how long to wait before another attempt.

    Args:
        error: the exception.
        causes: how many causes are sent at most.
    """
    if isinstance(error, BaseExceptionGroup):
        return _failure_of_group(error, causes)
    reason = error.reason if isinstance(error, HeadwaterError) and error.reason in FACTS else None
    failure = failure_message(
        describe(error),
        reason=reason or "STEP_FAILED",
        kind=type(error).__name__,
        non_retryable=_is_final(error) if reason is None else not FACTS[reason].step_retryable,
    )
    if (delay := _retry_delay(error)) is not None:
        failure.retry_delay.CopyFrom(delay)
    if isinstance(error, HeadwaterError) and error.provider:
        failure.provider.CopyFrom(_provider(error))
    if error.__cause__ is not None and causes:
        failure.cause.CopyFrom(failure_of(error.__cause__, causes - 1))
    return failure


def _failure_of_group(group: BaseExceptionGroup[BaseException], causes: int) -> error_pb2.Failure:
    leaves = leaves_of(group)
    if len(leaves) == 1:
        return failure_of(leaves[0], causes)
    failures = [failure_of(leaf, 0) for leaf in leaves]
    failure = failure_message(
        describe(group), kind=type(group).__name__, non_retryable=any(each.non_retryable for each in failures)
    )
    delays = [each.retry_delay for each in failures if each.HasField("retry_delay")]
    if delays:
        failure.retry_delay.CopyFrom(max(delays, key=seconds_of))
    if group.__cause__ is not None and causes:
        failure.cause.CopyFrom(failure_of(group.__cause__, causes - 1))
    return failure


def leaves_of(error: BaseException) -> list[BaseException]:
    """The exceptions in a group, and in the groups in it; the exception itself if it is no group."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for inner in error.exceptions for leaf in leaves_of(inner)]


def _is_final(error: BaseException) -> bool:
    """Whether no further attempt could succeed after an exception that has no reason of the contract."""
    return isinstance(error, _FINAL) or not isinstance(error, Exception | asyncio.CancelledError)


def describe(error: BaseException) -> str:
    """An exception in a sentence: its kind and its text. Those of this package are sentences already.

    A group is described by the exceptions in it.
    """
    if isinstance(error, BaseExceptionGroup):
        leaves = leaves_of(error)
        shown = "; ".join(describe(leaf) for leaf in leaves[:_SHOWN_LEAVES])
        more = len(leaves) - _SHOWN_LEAVES
        return f"{shown}; and {more} more exceptions" if more > 0 else shown
    try:
        text = str(error)
    except BaseException as broken:
        if is_ctrl_c(broken):
            raise
        # Its own __str__ raises: say that.
        text = f"(its text cannot be had: {type(broken).__name__})"
    if text and isinstance(error, HeadwaterError):
        return text
    name = type(error).__name__
    return f"{name}: {text}" if text else name


def _retry_delay(error: BaseException) -> Duration | None:
    """How long the exception asks to wait; None when it says nothing, or nothing that makes sense."""
    try:
        delay = getattr(error, "retry_after", None)
    except Exception:  # noqa: BLE001  a property that raises says nothing
        return None
    if isinstance(delay, bool) or not isinstance(delay, int | float) or not math.isfinite(delay) or delay < 0:
        return None
    return to_duration(min(float(delay), LONGEST_DELAY_SECONDS))


def _provider(error: HeadwaterError) -> error_pb2.ProviderFailure:
    return error_pb2.ProviderFailure(
        provider=error.provider or "",
        model=error.model or "",
        http_status=error.http_status or 0,
        code=error.provider_code or "",
        request_id=error.provider_request_id or "",
    )


def _clean(text: str) -> str:
    return text.encode(errors="replace").decode()
