"""Where handlers run: on the caller's loop, or in a thread of their own.

An exception of a handler comes back as a value, never through a future or a loop: so `StopIteration` does no harm, and
`SystemExit` ends only the handler.

A thread cannot be stopped. When its task is cancelled, nobody waits for it any more, and a generator ends at its next
`yield`. The threads are daemons: they do not keep the interpreter from ending. Too many of them that are stuck are an
error, before the process has no threads left.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

MAX_STUCK_THREADS = 64
_CLEANUP_SECONDS = 5.0
_LOOK_AT_LOOP_SECONDS = 1.0


class CannotRunError(Exception):
    """A handler cannot be run here, and no further attempt would change that."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a handler ended: with a value, or with an exception of its own."""

    value: Any = None
    error: BaseException | None = None


async def on_loop(loop: asyncio.AbstractEventLoop, work: Callable[[], Coroutine[Any, Any, Any]]) -> Ended:
    """Runs a coroutine on another loop, or on this one, in a task of its own."""
    ended: concurrent.futures.Future[Ended] = concurrent.futures.Future()
    tasks: list[asyncio.Task[None]] = []

    async def run() -> None:
        try:
            _resolve(ended, Ended(await work()))
        except KeyboardInterrupt as error:  # the user's, for the whole program
            _resolve(ended, Ended(error=error))
            raise
        except BaseException as error:  # noqa: BLE001  it is told to the run
            _resolve(ended, Ended(error=error))

    def begin() -> None:
        if not ended.cancelled():
            tasks.append(loop.create_task(run()))

    def cancel() -> None:
        if tasks:
            tasks[0].cancel()
        else:
            ended.cancel()

    try:
        loop.call_soon_threadsafe(begin)
    except RuntimeError:
        raise _loop_is_closed() from None
    waiter = asyncio.wrap_future(ended)
    try:
        while not waiter.done():
            await asyncio.wait([waiter], timeout=_LOOK_AT_LOOP_SECONDS)
            if loop.is_closed() and not waiter.done():
                raise _loop_is_closed()
        return waiter.result()
    except asyncio.CancelledError:
        with contextlib.suppress(RuntimeError):  # the loop is closed: so is the handler
            loop.call_soon_threadsafe(cancel)
            await asyncio.wait([waiter], timeout=_CLEANUP_SECONDS)
        raise
    finally:
        waiter.cancel()


def _loop_is_closed() -> CannotRunError:
    return CannotRunError(
        "the event loop of its async handler is closed; keep the loop that started the run, or host the handler in a "
        "process of its own with `await agent.run_worker(queue=...)`"
    )


def _resolve(ended: concurrent.futures.Future[Ended], how: Ended) -> None:
    with contextlib.suppress(concurrent.futures.InvalidStateError):  # nobody waits any more
        ended.set_result(how)


class _StuckThreads:
    """Counts the threads whose task was cancelled and that run on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0

    def add(self, number: int) -> int:
        with self._lock:
            self._count += number
            return self._count


_stuck = _StuckThreads()


async def in_thread(name: str, work: Callable[[], Any]) -> Ended:
    """Runs a function in a thread of its own."""
    if _stuck.add(0) >= MAX_STUCK_THREADS:
        raise CannotRunError(
            f"{MAX_STUCK_THREADS} handlers of this process were cancelled and do not return; give what they wait for a "
            "timeout, or write async handlers, which can be stopped"
        )
    ended: concurrent.futures.Future[Ended] = concurrent.futures.Future()

    def main() -> None:
        try:
            how = Ended(work())
        except BaseException as error:  # noqa: BLE001  it is told to the run
            how = Ended(error=error)
        with lock:
            _resolve(ended, how)
            if ended.cancelled():
                _stuck.add(-1)

    lock = threading.Lock()
    threading.Thread(target=main, name=f"headwater-{name}"[:100], daemon=True).start()
    waiter = asyncio.wrap_future(ended)
    try:
        return await waiter
    except asyncio.CancelledError:
        with lock:
            if ended.cancel():  # it runs on
                _stuck.add(1)
        raise
