"""The calls that run, and their end when their caller may no longer call.

Theory of operation. A call stands here from its admission to its end; a chunk costs nothing. `check` looks at each once
a second, and ends one whose admission is over as a deadline would: its task is cancelled at its next wait, and the call
gets the status CALLER_UNAUTHENTICATED in place of the cancellation. A call that another process answers ends here, and
that ends its other half.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

import structlog

from headwater_server.callers.admission import Admission, refused

AT_ONCE = 500
"""Calls that are looked at without a pause."""

T = TypeVar("T")

log = structlog.get_logger("headwater.callers")


class RunningCalls:
    """The running calls of a process whose admissions may end."""

    def __init__(self) -> None:
        self._calls: dict[asyncio.Timeout, Admission] = {}

    async def run(self, work: Awaitable[T], admission: Admission) -> T:
        """The result of the work of a call. Raises HeadwaterError (CALLER_UNAUTHENTICATED) when it may not continue."""
        try:
            async with asyncio.timeout(None) as limit:
                self._calls[limit] = admission
                try:
                    return await work
                finally:
                    del self._calls[limit]
        except TimeoutError:
            if not limit.expired():
                raise
        raise refused((admission.why_over and admission.why_over()) or "the caller may no longer call")

    async def check(self) -> None:
        """Ends the calls whose admission is over."""
        now, ended = asyncio.get_running_loop().time(), 0
        for number, (limit, admission) in enumerate(list(self._calls.items()), 1):
            if limit in self._calls and not limit.expired() and admission.why_over and admission.why_over():
                limit.reschedule(now)
                ended += 1
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
        if ended:
            log.info("calls ended", why="their callers may no longer call", calls=ended)
