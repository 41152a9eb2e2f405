"""Runs a function in the thread that waits in a synchronous call, for tools with `thread=False`.

Theory of operation. A synchronous call is a coroutine on another thread's loop; the calling thread meanwhile takes
functions from a queue and runs them, until the call is over. Tasks of the call find that queue in a context variable.
Without it, and after the call, the function runs where the coroutine does.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import queue
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from headwater._values.threads import Ended, ends_children, is_ctrl_c, resolve


class CallingThread:
    """A thread that waits in a synchronous call.

    Args:
        loop: where the call runs.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._over = False

    def serve(self) -> None:
        """Run functions, in the calling thread, until `release`."""
        while (work := self._work.get()) is not None:
            work()

    def release(self, _: object = None) -> None:
        """The call is over; from any thread."""
        with self._lock:
            self._over = True
        self._work.put(None)

    def begin(self, function: Callable[[], Any]) -> concurrent.futures.Future[Ended] | None:
        """Have a function run there; None when the call is over."""
        ended: concurrent.futures.Future[Ended] = concurrent.futures.Future()

        def work() -> None:
            if ended.set_running_or_notify_cancel():
                resolve(ended, run_here(function))

        with self._lock:
            if self._over:
                return None
            self._work.put(work)
        return ended


calling_thread: ContextVar[CallingThread | None] = ContextVar("headwater_calling_thread", default=None)


async def in_calling_thread(function: Callable[[], Any]) -> Ended:
    """Run a function in the thread that made the call: the one that waits, else the running loop's."""
    caller = calling_thread.get()
    if caller is not None and caller.loop is asyncio.get_running_loop() and (ended := caller.begin(function)):
        return await asyncio.wrap_future(ended)
    return run_here(function)


def run_here(function: Callable[[], Any]) -> Ended:
    """How a function ends. Ctrl-C is not its own."""
    try:
        with ends_children():
            return Ended(function())
    except BaseException as error:
        if is_ctrl_c(error):
            raise
        return Ended(error=error)
