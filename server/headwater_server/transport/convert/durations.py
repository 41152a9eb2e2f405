"""Between google.protobuf.Duration and Timestamp and seconds."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

_NANOS = 1_000_000_000
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799  # of the years 1 and 9999, as Timestamp allows


def parse_duration(message: Duration) -> float:
    """Seconds. Raises ValueError, as the end of a sentence about the field, for parts that are no duration."""
    if abs(message.nanos) >= _NANOS:
        raise ValueError(f"has {message.nanos} nanos, must have less than a second of them")
    if message.seconds * message.nanos < 0:
        raise ValueError("has seconds and nanos of different signs; give both the same sign")
    return message.seconds + message.nanos / _NANOS


def parse_timestamp(message: Timestamp) -> float:
    """Seconds since the epoch. Raises ValueError, as the end of a sentence about the field, when it is no instant."""
    if not 0 <= message.nanos < _NANOS:
        raise ValueError(f"has {message.nanos} nanos, must have 0 to 999,999,999")
    if not _FIRST_SECOND <= message.seconds <= _LAST_SECOND:
        raise ValueError("is not between the years 1 and 9999")
    return message.seconds + message.nanos / _NANOS


def duration(seconds: float) -> Duration:
    """Seconds as a Duration."""
    return Duration(**duration_fields(seconds))


def duration_fields(seconds: float) -> dict[str, int]:
    """The fields of a Duration, for a message around it: it would copy a Duration, which takes three times as long."""
    whole, nanos = divmod(round(seconds * _NANOS), _NANOS)
    return {"seconds": whole, "nanos": nanos}
