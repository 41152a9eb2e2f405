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


class _Call:
    """A running call, by the task that serves it.

    Attributes:
        task: the task.
        admission: that of the call.
        is_over: whether the task was cancelled because the admission is over.
    """

    __slots__ = ("admission", "is_over", "task")

    def __init__(self, task: asyncio.Task[Any], admission: Admission) -> None:
        self.task, self.admission, self.is_over = task, admission, False


class RunningCalls:
    """The running calls of a process whose admissions may end."""

    def __init__(self) -> None:
        self._calls: set[_Call] = set()

    async def run(self, work: Awaitable[T], admission: Admission, task: asyncio.Task[Any] | None = None) -> T:
        """The result of the work of a call. Raises HeadwaterError (CALLER_UNAUTHENTICATED) when it may not continue.

        `task`: the one that serves the call; None: that which runs now.
        """
        task = task or asyncio.current_task()
        assert task is not None  # noqa: S101  a coroutine runs in a task
        call = _Call(task, admission)
        self._calls.add(call)
        try:
            return await work
        except asyncio.CancelledError:
            if not call.is_over or task.uncancel():
                raise
        finally:
            self._calls.discard(call)
        raise refused((admission.why_over and admission.why_over()) or "the caller may no longer call")

    async def check(self) -> None:
        """Ends the calls whose admission is over."""
        ended = 0
        for number, call in enumerate(list(self._calls), 1):
            why_over = call.admission.why_over
            if call in self._calls and not call.is_over and why_over and why_over():
                call.is_over = call.task.cancel()
                ended += 1
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
        if ended:
            log.info("calls ended", why="their callers may no longer call", calls=ended)
