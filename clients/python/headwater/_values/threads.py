"""Runs a blocking function of the caller in a thread, for tools and for handlers of steps.

An exception of the function comes back as a value, never through a future or a loop: so `StopIteration` does no harm,
and `SystemExit` ends only the function.

A thread cannot be stopped: when the wait for it is cancelled, it runs to its end, and what it returns is dropped. The
threads are daemons, so they do not keep the interpreter from ending, and none of the loop's executor: `asyncio.run`
would wait for those. Too many that do not return are an error, before the process has no threads left.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

MAX_STUCK_THREADS = 64


def is_ctrl_c(error: BaseException) -> bool:
    """Whether an exception is Ctrl-C, which is meant for the whole program, and none that a function raised itself.

    Python runs signal handlers in the main thread. One that is written in Python, such as asyncio's, has a frame in the
    traceback; the default one has none, so with that one every KeyboardInterrupt counts as Ctrl-C.
    """
    if not isinstance(error, KeyboardInterrupt) or threading.current_thread() is not threading.main_thread():
        return False
    handler: Any = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:
        return True
    code = getattr(getattr(handler, "func", handler), "__code__", None)  # asyncio's is a partial
    return any(frame.f_code is code for frame, _ in traceback.walk_tb(error.__traceback__))


@contextlib.contextmanager
def ends_children() -> Iterator[None]:
    """Ends a child of a fork that leaves the block: it would run on as a copy of this process, and hang.

    The child's exit code is that of its SystemExit, 1 for another exception, and 0 when it just leaves.
    """
    parent = os.getpid()
    try:
        yield
    except BaseException as error:
        if os.getpid() != parent:
            _end_child(error)
        raise
    if os.getpid() != parent:
        _end_child(SystemExit())


def _end_child(error: BaseException) -> None:
    code: Any = error.code if isinstance(error, SystemExit) else 1
    try:
        if not isinstance(error, SystemExit):
            traceback.print_exception(error)
        elif not isinstance(code, int | None):
            print(code, file=sys.stderr)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    finally:
        os._exit(code if isinstance(code, int) else int(code is not None))


class CannotRunError(Exception):
    """A function cannot be run here, and no further attempt would change that."""


class StuckThreadsError(CannotRunError):
    """A function cannot be run in this process, because too many earlier ones do not return."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a function ended: with a value, or with an exception."""

    value: Any = None
    error: BaseException | None = None


class _StuckThreads:
    """Counts the threads that no caller waits for and that have not returned."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0

    def add(self, number: int) -> int:
        with self._lock:
            self._count += number
            return self._count


_stuck = _StuckThreads()


def threads_are_stuck() -> bool:
    """Whether so many functions do not return that no more are begun."""
    return _stuck.add(0) >= MAX_STUCK_THREADS


async def in_thread(name: str, function: Callable[[], Any]) -> Ended:
    """Run a function in a new thread, with the context variables of the caller.

    Raises:
        StuckThreadsError: too many earlier ones do not return.
    """
    if threads_are_stuck():
        raise StuckThreadsError(
            f"{MAX_STUCK_THREADS} functions of this process were given up and do not return; give what they wait for a "
            "timeout, or write async functions, which can be stopped"
        )
    ended: concurrent.futures.Future[Ended] = concurrent.futures.Future()
    context = contextvars.copy_context()
    lock = threading.Lock()

    def main() -> None:
        try:
            with ends_children():
                how = Ended(context.run(function))
        except BaseException as error:  # noqa: BLE001  the caller gets it as a value
            how = Ended(error=error)
        with lock:
            resolve(ended, how)
            if ended.cancelled():
                _stuck.add(-1)

    threading.Thread(target=main, name=f"headwater-{name}"[:100], daemon=True).start()
    try:
        return await asyncio.wrap_future(ended)
    except asyncio.CancelledError:
        with lock:
            if ended.cancel() or ended.cancelled():  # it runs on
                _stuck.add(1)
        raise


def resolve(future: concurrent.futures.Future[Ended], how: Ended) -> None:
    """Set the result, if somebody still waits for it."""
    with contextlib.suppress(concurrent.futures.InvalidStateError):
        future.set_result(how)
