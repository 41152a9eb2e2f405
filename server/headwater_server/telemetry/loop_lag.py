"""Watches the event loop: a warning in the log when something has held it, and so every caller."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog

EVERY_SECONDS = 0.1
MAX_LAG_SECONDS = 0.25
"""How late the loop may be before it is reported."""
REPORT_EVERY_SECONDS = 10.0

log = structlog.get_logger("headwater.loop")


class LoopLag:
    """How late the loop was since the last report.

    Attributes:
        longest: the longest time for which the loop was held, in seconds.
        times: how often it was held for longer than `MAX_LAG_SECONDS`.
        starved: the longest time for which the machine had no processor for it meanwhile, in seconds.
    """

    def __init__(self) -> None:
        self.longest = 0.0
        self.times = 0
        self.starved = 0.0
        self._reported = float("-inf")

    def note(self, now: float, late: float, starved: float) -> None:
        """Notes that the loop was late, and reports it unless a report was made a short time ago.

        Args:
            now: the time of a clock that only rises, in seconds.
            late: how much later than asked for the loop came to it, in seconds.
            starved: how long it waited for a processor meanwhile: no fault of this program.
        """
        self.starved = max(self.starved, starved)
        if (held := late - starved) > MAX_LAG_SECONDS:
            self.longest, self.times = max(self.longest, held), self.times + 1
        if self.times and now - self._reported >= REPORT_EVERY_SECONDS:
            self._reported = now
            facts = {"longest_seconds": self.longest, "starved_seconds": self.starved}
            log.warning("loop held", times=self.times, **{name: round(value, 3) for name, value in facts.items()})
            self.longest, self.times, self.starved = 0.0, 0, 0.0


async def watch_loop(
    starved: Callable[[], float],
    clock: Callable[[], float] = time.monotonic,
    on_lag: Callable[[float], object] = lambda _: None,
) -> None:
    """Reports a loop that is held, until it is cancelled: at most one line in 10 s, with the longest lag since then.

    Args:
        starved: how long the thread of the loop has waited for a processor until now; see `StarvedClock`.
        clock: the time in seconds.
        on_lag: gets how late the loop was, each time, in seconds.
    """
    lag = LoopLag()
    before, starved_before = clock(), starved()
    while True:
        await asyncio.sleep(EVERY_SECONDS)
        now, starved_now = clock(), starved()
        late = now - before - EVERY_SECONDS
        on_lag(late)
        lag.note(now, late, starved_now - starved_before)
        before, starved_before = now, starved_now
