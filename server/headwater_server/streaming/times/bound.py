"""A bound in time for the work of a task, as `asyncio.timeout` sets it, at half its cost: each stream has one."""

from __future__ import annotations

import asyncio
from types import TracebackType


class Bound:
    """Cancels the task that makes it when a block takes too long, and raises TimeoutError at its end.

    Args:
        loop: the one that runs.
        seconds: from now on.

    Attributes:
        is_passed: whether the block took too long.
    """

    __slots__ = ("_cancelling", "_task", "_timer", "is_passed")

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        task = asyncio.current_task(loop)
        assert task is not None  # noqa: S101  a coroutine runs in a task
        self._task, self._cancelling = task, task.cancelling()
        self.is_passed = False
        self._timer = loop.call_later(seconds, self._pass)

    def _pass(self) -> None:
        self.is_passed = True
        self._task.cancel()

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self.is_passed and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error
