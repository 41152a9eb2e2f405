"""Evaluates conditions and placeholders for all runs, in one helper process that is started when it is first needed.

Theory of operation. One job is done at a time. The next one is that of the asker whose jobs have cost the least
computing time until now, so one that asks for costly jobs waits for all others. A run has one condition in line at a
time, a call one step, and an action waits for its place among all actions first; so the line is bounded by the numbers
of those. A job that takes too much time or memory ends the helper process, as does one whose asker leaves; the next job
starts another process.
"""

from __future__ import annotations

import asyncio
import heapq
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import Protocol

import structlog

from headwater_server.workflows.definition.condition_syntax import CURE
from headwater_server.workflows.expressions.helper import JOB_SECONDS, MAX_MEMORY_BYTES
from headwater_server.workflows.expressions.messages import Answer, Job
from headwater_server.workflows.expressions.process import HelperEndedError, HelperProcess

ASKER_SECONDS = 20.0
"""Most computing time of all jobs of one run, or of one call that checks a definition."""
ANSWER_SECONDS = 60.0
"""How long a job may take in all, on a machine that has little time for the helper process."""

_LIMITS = {
    -signal.SIGPROF: f"took more than {JOB_SECONDS:g} s of computing time",
    -signal.SIGABRT: f"took more than {MAX_MEMORY_BYTES // 2**20} MiB of memory",
}
"""How a process ends that passes a limit."""

log = structlog.get_logger("headwater.expressions")


class StoppedError(Exception):
    """A job was stopped; the message says why, as the end of a sentence about its expression."""


class Helper(Protocol):
    """See HelperProcess."""

    async def ask(self, job: Job, values: Mapping[str, str]) -> Answer:
        """See `HelperProcess.ask`."""
        ...

    async def stop(self) -> None:
        """See `HelperProcess.stop`."""
        ...


@dataclass(slots=True)
class Asker:
    """A run, or a call, that has jobs. `spent`: the computing time of those until now, in seconds."""

    spent: float = 0.0


class Evaluator:
    """Owns the helper process, from the first job to `close`.

    Args:
        start: starts a helper process.
    """

    def __init__(self, start: Callable[[], Awaitable[Helper]] = HelperProcess.start) -> None:
        self._start = start
        self._helper: Helper | None = None
        self._line = _Line()

    async def ask(self, asker: Asker, job: Job, values: Mapping[str, str]) -> Answer:
        """The answer to a job.

        Args:
            asker: has the job.
            job: the job.
            values: those that it may read, JSON texts.

        Raises StoppedError.
        """
        async with self._line.turn(asker):
            if asker.spent >= ASKER_SECONDS:
                most = f"{ASKER_SECONDS:g} s of computing time, the most of a run or a check"
                raise StoppedError(f"was not evaluated: those before it took {most}; {CURE}")
            try:
                answer = await self._answer(job, values)
            except StoppedError:
                asker.spent += JOB_SECONDS
                raise
            asker.spent += answer.seconds
            return answer

    async def _answer(self, job: Job, values: Mapping[str, str]) -> Answer:
        try:
            return await self._ask(job, values)
        except HelperEndedError as error:
            log.info("helper ended", code=error.code)
            if error.code in _LIMITS:
                raise StoppedError(f"{_LIMITS[error.code]} and was stopped; {CURE}") from error
        try:
            return await self._ask(job, values)  # the process may have been ended from outside, or while it was idle
        except HelperEndedError as error:
            log.warning("helper ended", code=error.code)
            raise StoppedError(f"ended its process twice (code {error.code}); {CURE}") from error

    async def _ask(self, job: Job, values: Mapping[str, str]) -> Answer:
        """Raises HelperEndedError, also when it does not answer in time, and StoppedError when it cannot be started."""
        try:
            helper, self._helper = self._helper or await self._start(), None
        except OSError as error:
            raise StoppedError(f"has no process to be evaluated in ({error.strerror}); try again") from error
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

    async def close(self) -> None:
        """Ends the process. No job may be under way."""
        helper, self._helper = self._helper, None
        if helper is not None:
            await helper.stop()


class _Line:
    """Lets one in at a time: the asker that has spent the least, then the one that came first."""

    def __init__(self) -> None:
        self._numbers = count()
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._taken = False

    @asynccontextmanager
    async def turn(self, asker: Asker) -> AsyncIterator[None]:
        if self._taken:
            place = asyncio.get_running_loop().create_future()
            heapq.heappush(self._waiting, (asker.spent, next(self._numbers), place))
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
