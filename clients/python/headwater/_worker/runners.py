"""Runs an async handler on the caller's loop, for a worker that lives on another.

An exception of the handler comes back as a value, never through a future or a loop: so `StopIteration` does no harm,
and `SystemExit` ends only the handler.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

from headwater._values.threads import CannotRunError, Ended, is_ctrl_c, resolve

_CLEANUP_SECONDS = 5.0
_LOOK_AT_LOOP_SECONDS = 1.0


async def on_loop(
    loop: asyncio.AbstractEventLoop, work: Callable[[], Coroutine[Any, Any, Any]], on_cancel: Callable[[], None]
) -> Ended:
    """Runs a coroutine on another loop, or on this one, in a new task. Calls `on_cancel` before it is cancelled.

    Raises CannotRunError for a loop that is closed, or closes.
    """
    ended: concurrent.futures.Future[Ended] = concurrent.futures.Future()
    tasks: list[asyncio.Task[None]] = []

    async def run() -> None:
        # In its last moments a loop still runs tasks, but warns of each async generator that begins. Its worker, which
        # ends with it, hands the task back.
        if getattr(loop, "_asyncgens_shutdown_called", False):
            tasks.clear()
            return
        try:
            resolve(ended, Ended(await work()))
        except BaseException as error:
            resolve(ended, Ended(error=error))
            if is_ctrl_c(error):
                raise

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
        on_cancel()
        with contextlib.suppress(RuntimeError):  # the loop is closed: so is the handler
            loop.call_soon_threadsafe(cancel)
            await asyncio.wait([waiter], timeout=_CLEANUP_SECONDS)
        raise
    finally:
        waiter.cancel()


def _loop_is_closed() -> CannotRunError:
    return CannotRunError(
        "the event loop of its async handler is closed; keep the loop that started the run, or host the handler in a "
        "separate process with `await agent.run_worker(queue=...)`"
    )
