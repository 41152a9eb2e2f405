"""Notices that a provider is silent, at the cost of two attributes a chunk.

A timer for each chunk would cost more than the chunk. Here one timer runs at a time, set for the moment at which the
limit is reached if nothing comes. When it fires, it reads since when the stream has waited for the provider. Then it
reports the silence, or sets itself again for the rest of the time. A stream that begins or ends waiting sets an
attribute, not a timer, since that happens twice a chunk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Watchdog:
    """Calls `on_timeout` once when the provider was waited for too long.

    Args:
        on_timeout: called with the limit that was passed, in seconds.
        seconds: the limit; None: there is none until `start`.

    Attributes:
        since: the loop's time since which the stream has waited for the provider; None while it does not wait, and the
            provider may be silent. The stream sets it.
    """

    def __init__(self, on_timeout: Callable[[float], None], seconds: float | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._limit = 0.0
        self._on_timeout = on_timeout
        self.since: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        if seconds is not None:
            self.start(seconds)

    def start(self, seconds: float) -> None:
        """Begins the watch with this limit."""
        self._limit = seconds
        self._arm(self._loop.time() + seconds)

    def stop(self) -> None:
        """Ends the watch, and releases `on_timeout`."""
        self._disarm()
        self._on_timeout = _ignore

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, when: float) -> None:
        self._disarm()
        self._timer = self._loop.call_at(when, self._look)

    def _look(self) -> None:
        now = self._loop.time()
        due = (now if self.since is None else self.since) + self._limit
        if due > now:
            self._arm(due)
        else:
            self._timer = None
            self._on_timeout(self._limit)


def _ignore(_: float) -> None:
    pass
