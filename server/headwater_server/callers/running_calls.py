"""The calls that run, and their end when their caller may no longer call.

Theory of operation. A call stands here from its admission to its end; a chunk costs nothing. `check` looks at each once
a second, and ends one whose admission is over as a deadline would: its task is cancelled at its next wait, and the call
gets the status CALLER_UNAUTHENTICATED in place of the cancellation. A call that another process answers ends here, and
that ends its other half.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

import structlog

from headwater_server.callers.admission import Admission, refused

AT_ONCE = 500
"""Calls that are looked at without a pause."""

T = TypeVar("T")

log = structlog.get_logger("headwater.callers")


class RunningCalls:
    """The running calls of a process whose admissions may end."""

    def __init__(self) -> None:
        self._calls: dict[asyncio.Task[Any], Admission] = {}
        self._over: set[asyncio.Task[Any]] = set()  # cancelled, because their admissions are over

    async def run(self, work: Awaitable[T], admission: Admission, task: asyncio.Task[Any] | None = None) -> T:
        """The result of the work of a call. Raises HeadwaterError (CALLER_UNAUTHENTICATED) when it may not continue.

        `task`: the one that serves the call; None: that which runs now.
        """
        task = task or asyncio.current_task()
        assert task is not None  # noqa: S101  a coroutine runs in a task
        self._calls[task] = admission
        try:
            return await work
        except asyncio.CancelledError:
            if task not in self._over or task.uncancel():
                raise
        finally:
            del self._calls[task]
            if self._over:
                self._over.discard(task)
        raise refused((admission.why_over and admission.why_over()) or "the caller may no longer call")

    async def check(self) -> None:
        """Ends the calls whose admission is over."""
        ended = 0
        for number, (task, admission) in enumerate(list(self._calls.items()), 1):
            why_over = admission.why_over
            if task in self._calls and task not in self._over and why_over and why_over():
                if task.cancel():
                    self._over.add(task)
                ended += 1
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
        if ended:
            log.info("calls ended", why="their callers may no longer call", calls=ended)
