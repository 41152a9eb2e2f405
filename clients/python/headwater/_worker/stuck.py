"""The time in which a worker takes no tasks, because the threads of its process are stuck."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from headwater._values.background import report_death
from headwater._values.threads import threads_are_stuck

_LOOK_SECONDS = 1.0

log = logging.getLogger("headwater.worker")


class StuckThreads:
    """Belongs to one worker, and to its loop.

    Args:
        name: of the worker, for the log.
        closing: is set when the worker closes.
        offer: tells the server that the worker takes tasks, or takes none.
    """

    def __init__(self, name: str, closing: asyncio.Event, offer: Callable[[bool], None]) -> None:
        self._name = name
        self._closing = closing
        self._offer = offer
        self._waiting: asyncio.Task[None] | None = None

    def __bool__(self) -> bool:
        return self._waiting is not None and not self._waiting.done()

    def begin(self) -> None:
        """Takes no tasks until the threads have returned; again does nothing."""
        if not self:
            self._waiting = asyncio.create_task(self._wait())
            report_death(self._waiting, f"the look at the threads of {self._name}", lambda _: self._offer(True))

    async def wait(self) -> None:
        """Waits until it is over; a worker that closes ends it."""
        if self._waiting is not None:
            await asyncio.wait([self._waiting])

    async def _wait(self) -> None:
        log.error("%s takes no more tasks: its threads are stuck", self._name)
        self._offer(False)
        while threads_are_stuck() and not self._closing.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._closing.wait()
        if not self._closing.is_set():
            log.warning("%s takes tasks again", self._name)
            self._offer(True)
