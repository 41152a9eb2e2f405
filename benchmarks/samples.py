"""Percentiles, and what a reader's notes of one stream say about its gaps."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Sequence

from benchmarks.load.wire import stamps

Note = tuple[int, str | bytes]
"""When a chunk was read, in microseconds of the monotonic clock, and its text."""


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of them do not exceed. ValueError when there are none."""
    if not values:
        raise ValueError("no values to take a percentile of")
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]


def added_gaps(notes: Iterable[Note]) -> Iterator[int]:
    """By how many microseconds each gap between deltas was longer when read than when written.

    Deltas of one merged chunk are read at one moment.
    """
    read_before: int | None = None
    written_before = 0
    for read, text in notes:
        for written in stamps(text):
            if read_before is not None:
                yield (read - read_before) - (written - written_before)
            read_before, written_before = read, written


def ages(notes: Iterable[Note]) -> Iterator[int]:
    """Microseconds from the moment a delta was written to the moment it was read."""
    for read, text in notes:
        for written in stamps(text):
            yield read - written


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, smallest and largest of the rounds."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}
