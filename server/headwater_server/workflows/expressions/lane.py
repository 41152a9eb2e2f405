"""A lane of jobs: one helper process, which is started when it is first needed, and those that wait for it."""

from __future__ import annotations

import asyncio
import heapq
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from itertools import count
from typing import Protocol

from headwater_server.workflows.expressions.messages import Answer, Job
from headwater_server.workflows.expressions.process import HelperEndedError

ANSWER_SECONDS = 60.0
"""How long a job may take in all, on a machine that has little time for the helper process."""


class Helper(Protocol):
    """See HelperProcess."""

    async def ask(self, job: Job, values: Mapping[str, str]) -> Answer:
        """See `HelperProcess.ask`."""
        ...

    async def stop(self) -> None:
        """See `HelperProcess.stop`."""
        ...


class Lane:
    """Does one job at a time, from the first to `close`.

    Args:
        start: starts a helper process. Raises OSError when the system makes none.
    """

    def __init__(self, start: Callable[[], Awaitable[Helper]]) -> None:
        self._start = start
        self._helper: Helper | None = None
        self._numbers = count()
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._taken = False

    async def ask(self, job: Job, values: Mapping[str, str]) -> Answer:
        """The answer to a job; to be called within a turn. A job whose caller leaves ends the process.

        Raises HelperEndedError, also when the process does not answer in time, and OSError when it cannot be started.
        """
        helper, self._helper = self._helper or await self._start(), None
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                answer = await helper.ask(job, values)
        except TimeoutError as error:
            await helper.stop()
            raise HelperEndedError(-signal.SIGKILL) from error
        except BaseException:
            await helper.stop()
            raise
        self._helper = helper
        return answer

    @asynccontextmanager
    async def turn(self, spent: float) -> AsyncIterator[None]:
        """Waits for a turn: the one that has spent the least comes next, then the one that came first."""
        if self._taken:
            place = asyncio.get_running_loop().create_future()
            heapq.heappush(self._waiting, (spent, next(self._numbers), place))
            try:
                await place
            except asyncio.CancelledError:
                if not place.cancelled():
                    self._next()  # it was let in, and leaves at once
                raise
        self._taken = True
        try:
            yield
        finally:
            self._next()

    def _next(self) -> None:
        while self._waiting:
            _, _, place = heapq.heappop(self._waiting)
            if not place.done():
                place.set_result(None)
                return
        self._taken = False

    async def close(self) -> None:
        """Ends the process. No job may be under way."""
        helper, self._helper = self._helper, None
        if helper is not None:
            await helper.stop()
