"""When and how often a failed attempt of a step is repeated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from headwater._values.durations import to_duration
from headwater._values.names import all_names_nearest
from headwater._values.validation import finite, int32, invalid
from headwater.v1 import workflow_pb2

MAX_ATTEMPTS = 101
MAX_BACKOFF = 100.0
LONGEST_DELAY_SECONDS = 86_400


@all_names_nearest
@dataclass(frozen=True)
class RetryPolicy:
    """When and how often a failed attempt of a step is repeated.

    The attempt after failure number N starts after `initial_delay` times `backoff` to the power of N - 1 seconds, at
    most `max_delay`.

    Attributes:
        initial_delay: seconds after the first failure, 0 to 86,400.
        backoff: by how much each delay is longer than the one before, 1 to 100.
        max_delay: the longest delay in seconds, up to 86,400, at least `initial_delay`; None for a minute, or
            `initial_delay` where that is longer.
        max_attempts: most attempts in all, 1 to 101. With 1 the step is at most once: an attempt that was lost is not
            repeated either.

    Raises:
        ValidationError: for a bad value; the message names it.
    """

    initial_delay: float = 0.2
    backoff: float = 2.0
    max_delay: float | None = None
    max_attempts: int = 4

    def __post_init__(self) -> None:
        _check_delay("initial_delay", self.initial_delay)
        if not 1 <= finite("backoff", self.backoff) <= MAX_BACKOFF:
            raise invalid("backoff", f"must be 1 to {MAX_BACKOFF:g}")
        if self.max_delay is not None:
            _check_delay("max_delay", self.max_delay)
            if self.max_delay < self.initial_delay:
                raise invalid("max_delay", f"must be at least initial_delay, {self.initial_delay:g} seconds")
        if not 1 <= int32("max_attempts", self.max_attempts) <= MAX_ATTEMPTS:
            raise invalid("max_attempts", f"must be 1 to {MAX_ATTEMPTS}")

    def to_message(self) -> workflow_pb2.RetryPolicy:
        """The same in the contract."""
        return workflow_pb2.RetryPolicy(
            initial_delay=to_duration(self.initial_delay),
            backoff=self.backoff,
            max_delay=None if self.max_delay is None else to_duration(self.max_delay),
            max_attempts=self.max_attempts,
        )


def _check_delay(name: str, value: Any) -> None:
    if not 0 <= finite(name, value) <= LONGEST_DELAY_SECONDS:
        raise invalid(name, f"must be 0 to {LONGEST_DELAY_SECONDS:,} seconds")


def to_retry_policy(policy: Any, max_retries: Any) -> RetryPolicy:
    """The policy of a step from the arguments of `add_step`. Raises ValidationError."""
    if policy is not None and not isinstance(policy, RetryPolicy):
        raise invalid("retry_policy", f"must be a RetryPolicy, not {type(policy).__name__}")
    if max_retries is None:
        return policy or RetryPolicy()
    if policy is not None:
        raise invalid("max_retries", "has no place beside retry_policy=; write RetryPolicy(max_attempts=...)")
    retries = int32("max_retries", max_retries)
    if not 0 <= retries < MAX_ATTEMPTS:
        raise invalid("max_retries", f"must be 0 to {MAX_ATTEMPTS - 1}")
    return RetryPolicy(max_attempts=retries + 1)
