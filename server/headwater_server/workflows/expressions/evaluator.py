"""Evaluates conditions and placeholders for all runs, in helper processes that are started when they are first needed.

Theory of operation. There are two lanes, each with one helper process that does one job at a time. A job begins in the
quick lane. One that takes longer than a tenth of a second there ends the helper process, which the next job starts
again. It is done once more in the slow lane, and so are all later jobs of its asker at once. So costly jobs hardly keep
others waiting. In each lane the asker whose jobs have cost the least computing time until now comes next. A run has one
condition in line at a time, a call one step, and an action waits for its place among all actions first; so the lines
are bounded by the numbers of those.
"""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial

import structlog

from headwater_server.workflows.definition.condition_syntax import CURE
from headwater_server.workflows.expressions.helper import MAX_MEMORY_BYTES
from headwater_server.workflows.expressions.lane import Helper, Lane
from headwater_server.workflows.expressions.messages import Answer, Job
from headwater_server.workflows.expressions.process import HelperEndedError, HelperProcess

QUICK_SECONDS = 0.1
"""Most computing time of a job in the quick lane."""
JOB_SECONDS = 1.0
"""Most computing time of a job."""
ASKER_SECONDS = 20.0
"""Most computing time of all jobs of one run, or of one call that checks a definition."""

_LIMITS = {
    -signal.SIGPROF: f"took more than {JOB_SECONDS:g} s of computing time",
    -signal.SIGABRT: f"took more than {MAX_MEMORY_BYTES // 2**20} MiB of memory",
}
"""How a process ends that passes a limit."""

log = structlog.get_logger("headwater.expressions")


class StoppedError(Exception):
    """A job was stopped; the message says why, as the end of a sentence about its expression."""


@dataclass(slots=True)
class Asker:
    """A run, or a call, that has jobs.

    Attributes:
        spent: the computing time of its jobs until now, in seconds.
        is_slow: one of them was too long for the quick lane.
    """

    spent: float = 0.0
    is_slow: bool = False


class Evaluator:
    """Owns the helper processes, from the first job to `close`.

    Args:
        start: starts a helper process whose jobs may compute for so many seconds.
    """

    def __init__(self, start: Callable[[float], Awaitable[Helper]] = HelperProcess.start) -> None:
        self._quick = Lane(partial(start, QUICK_SECONDS))
        self._slow = Lane(partial(start, JOB_SECONDS))

    async def ask(self, asker: Asker, job: Job, values: Mapping[str, str]) -> Answer:
        """The answer to a job.

        Args:
            asker: has the job.
            job: the job.
            values: those that it may read, JSON texts.

        Raises StoppedError.
        """
        if not asker.is_slow:
            try:
                return await self._ask(self._quick, asker, job, values)
            except HelperEndedError as error:
                # Not only for its time: the process may have been ended from outside, or while it was idle.
                asker.is_slow = error.code == -signal.SIGPROF
                asker.spent += QUICK_SECONDS
        try:
            return await self._ask(self._slow, asker, job, values)
        except HelperEndedError as error:
            asker.spent += JOB_SECONDS
            log.info("expression stopped", code=error.code)
            why = _LIMITS.get(error.code, f"ended its process (code {error.code})")
            raise StoppedError(f"{why} and was stopped; {CURE}") from error

    async def _ask(self, lane: Lane, asker: Asker, job: Job, values: Mapping[str, str]) -> Answer:
        """Raises HelperEndedError, and StoppedError before it asks."""
        async with lane.turn(asker.spent):
            if asker.spent >= ASKER_SECONDS:
                most = f"{ASKER_SECONDS:g} s of computing time, the most of a run or a check"
                raise StoppedError(f"was not evaluated: those before it took {most}; {CURE}")
            try:
                answer = await lane.ask(job, values)
            except OSError as error:
                raise StoppedError(f"has no process to be evaluated in ({error.strerror}); try again") from error
        asker.spent += answer.seconds
        return answer

    async def close(self) -> None:
        """Ends the processes. No job may be under way."""
        await self._quick.close()
        await self._slow.close()
