"""Times of the contract in seconds."""

from __future__ import annotations

from typing import Protocol

from google.protobuf.duration_pb2 import Duration


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
