"""Notices that a provider has gone quiet, at the cost of one attribute a chunk.

A timer for each chunk would cost more than the chunk. Here one timer runs at a time, set for the moment at which the
limit would be reached if nothing came; when it fires it looks when something last came, and sets itself anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Watchdog:
    """Calls `on_timeout` once when the provider has been silent for too long.

    Args:
        first_seconds: limit until the first `seen`.
        next_seconds: limit between two `seen`.
        on_timeout: called with the limit that was passed, in seconds.
    """

    def __init__(self, first_seconds: float, next_seconds: float, on_timeout: Callable[[float], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._limit = first_seconds
        self._next_limit = next_seconds
        self._on_timeout = on_timeout
        self._last = self._loop.time()
        self._paused = False
        self._timer: asyncio.TimerHandle | None = self._loop.call_later(first_seconds, self._look)

    def seen(self) -> None:
        """Something came from the provider."""
        self._last = self._loop.time()
        if self._limit != self._next_limit:
            self._limit = self._next_limit
            self._arm(self._last + self._limit)

    def pause(self) -> None:
        """The provider is not being read: its silence says nothing."""
        self._paused = True

    def resume(self) -> None:
        """The provider is read again, and has the whole limit from now."""
        self._paused = False
        self._last = self._loop.time()

    def stop(self) -> None:
        """Ends the watch, and lets go of who was to be called."""
        self._disarm()
        self._on_timeout = _nobody

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, when: float) -> None:
        self._disarm()
        self._timer = self._loop.call_at(when, self._look)

    def _look(self) -> None:
        now = self._loop.time()
        due = (now if self._paused else self._last) + self._limit
        if due > now:
            self._arm(due)
        else:
            self._timer = None
            self._on_timeout(self._limit)


def _nobody(_: float) -> None:
    pass
