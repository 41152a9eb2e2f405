"""Says in the log how full the journal is: when it passes a mark, up or down, also at the start."""

from __future__ import annotations

from bisect import bisect_right

import structlog

MARKS = (50, 80, 95, 100)
"""In percent of `journal_mib`."""

WARN_FROM = 80
_BELOW = 5
"""So far below a mark it must be before it has passed it downwards: few runs come and go all the time."""

log = structlog.get_logger("headwater.journal")


class Fill:
    """How full a journal is.

    Args:
        most_bytes: at which it takes no more runs.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._mark = 0  # the highest that it is at; 0 for none

    def note(self, size: int) -> None:
        """Notes the size in bytes."""
        percent = 100 * size // self._most
        mark = _mark(percent)
        if mark > self._mark or _mark(percent + _BELOW) < self._mark:
            self._mark = mark
            write = log.warning if mark >= WARN_FROM else log.info
            write("journal size", mib=round(size / 2**20, 1), journal_mib=self._most // 2**20, percent=percent)


def _mark(percent: int) -> int:
    return (0, *MARKS)[bisect_right(MARKS, percent)]
