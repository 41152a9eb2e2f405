"""Between the contract's Failure and the domain's, and from an error of a call to the failure of a step."""

from __future__ import annotations

from dataclasses import replace

from headwater.v1 import error_pb2
from headwater_server.domain.attempts import Attempt
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.failure import (
    MAX_CAUSES,
    MAX_MESSAGE_CHARACTERS,
    MAX_RETRY_DELAY_SECONDS,
    Failure,
    ProviderFacts,
    cut,
    failure_of,
)
from headwater_server.transport.convert.durations import duration, parse_duration

_PREFIX = "ERROR_REASON_"
_REASONS: dict[int, Reason] = {error_pb2.ErrorReason.Value(_PREFIX + reason): reason for reason in Reason}
_NUMBERS = {reason: number for number, reason in _REASONS.items()}
_STEP_RETRYABLE = frozenset(
    _REASONS[value.number]
    for value in error_pb2.ErrorReason.DESCRIPTOR.values
    if value.GetOptions().Extensions[error_pb2.error_facts].step_retryable  # type: ignore[index]  # its stub lacks the type
)


def step_failure(error: HeadwaterError) -> Failure:
    """The failure of a step whose call ended with this error."""
    return replace(failure_of(error), non_retryable=error.reason not in _STEP_RETRYABLE)


def parse_failure(message: error_pb2.Failure, default: Reason, depth: int = MAX_CAUSES) -> Failure:
    """A failure that a worker or a caller sent; texts that are too long and causes that are too deep are cut.

    Args:
        message: as it was sent.
        default: the reason when it names none, or one that this server does not know.
        depth: how many causes are read.

    Raises ValueError, as the end of a sentence about the failure, for a delay that is out of its range.
    """
    delay = None
    if message.HasField("retry_delay"):
        try:
            delay = parse_duration(message.retry_delay)
        except ValueError as error:
            raise ValueError(f"has a retry_delay that {error}") from error
        if not 0 <= delay <= MAX_RETRY_DELAY_SECONDS:
            raise ValueError(f"has a retry_delay of {delay:g} s, must be 0 to 1 day")
    return Failure(
        _REASONS.get(message.reason, default),
        message.message,
        message.type,
        message.non_retryable,
        delay,
        _parse_provider(message.provider) if message.HasField("provider") else None,
        parse_failure(message.cause, default, depth - 1) if depth and message.HasField("cause") else None,
    )


def _parse_provider(message: error_pb2.ProviderFailure) -> ProviderFacts:
    return ProviderFacts(message.provider, message.model, message.http_status, message.code, message.request_id)


def failure(found: Failure) -> error_pb2.Failure:
    """A failure as a message."""
    provider = found.provider
    return error_pb2.Failure(
        reason=_NUMBERS[found.reason],  # type: ignore[arg-type]
        message=found.message,
        type=found.type,
        non_retryable=found.non_retryable,
        retry_delay=None if found.retry_delay_seconds is None else duration(found.retry_delay_seconds),
        provider=None
        if provider is None
        else error_pb2.ProviderFailure(
            provider=provider.provider,
            model=provider.model,
            http_status=provider.http_status,
            code=provider.code,
            request_id=provider.request_id,
        ),
        cause=None if found.cause is None else failure(found.cause),
    )


def attempt(found: Attempt, longest: int = MAX_MESSAGE_CHARACTERS) -> error_pb2.Attempt:
    """A failed attempt as a message, whose failure has a message of at most so many characters."""
    non_retryable = found.failure.reason not in _STEP_RETRYABLE
    shown = replace(found.failure, message=cut(found.failure.message, longest), non_retryable=non_retryable)
    return error_pb2.Attempt(
        provider=found.provider,
        model=found.model,
        failure=failure(shown),
        duration=duration(found.duration_seconds),
        wait=duration(found.wait_seconds) if found.wait_seconds else None,
    )
