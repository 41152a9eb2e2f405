"""Times of the contract in seconds, and hints to keep a part of the prompt for a time."""

from __future__ import annotations

from typing import Any, Protocol

from google.protobuf.duration_pb2 import Duration

from headwater._values.validation import invalid, seconds
from headwater.v1 import agent_pb2

MAX_SECONDS = 86_400
"""The longest time that a server takes for a limit."""


class _Time(Protocol):
    @property
    def seconds(self) -> int: ...

    @property
    def nanos(self) -> int: ...


def seconds_of(time: _Time) -> float:
    """The seconds of a Duration, or of a Timestamp since the epoch."""
    return time.seconds + time.nanos / 1e9


def to_duration(seconds: float) -> Duration:
    """A number of seconds as a Duration; one above 0 is at least a nanosecond."""
    nanos = round(seconds * 1e9) or (1 if seconds > 0 else 0)
    return Duration(seconds=nanos // 1_000_000_000, nanos=nanos % 1_000_000_000)


def bounded_seconds(name: str, value: Any, least: float = 0) -> float:
    """Seconds that a field of the contract takes: above 0, or at least so many, up to a day."""
    number = seconds(name, value)
    if not least <= number <= MAX_SECONDS:
        bound = f"at least {least:g}" if least else "above 0"
        raise invalid(name, f"must be {bound} and at most {MAX_SECONDS} seconds")
    return number


def cache_hint(name: str, value: Any) -> agent_pb2.CacheHint | None:
    """The hint of `True` (the provider's own time) or of seconds; None for False and None."""
    if value is None or isinstance(value, bool):
        return agent_pb2.CacheHint() if value else None
    if not isinstance(value, int | float) or not 0 < value <= 86_400:
        raise invalid(name, "must be True, or seconds above 0 and at most 86400")
    return agent_pb2.CacheHint(ttl=to_duration(value))


def show_cache(hint: agent_pb2.CacheHint) -> bool | float:
    """A hint as callers write it."""
    return seconds_of(hint.ttl) if hint.HasField("ttl") else True
