"""Async handlers on the caller's loop, as that loop ends."""

from __future__ import annotations

import asyncio
import threading

import pytest

from headwater._values.threads import CannotRunError
from headwater._worker.runners import on_loop


async def test_a_loop_that_is_about_to_close_begins_no_handler() -> None:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(loop.shutdown_asyncgens(), loop).result(10)
    began = []

    async def work() -> None:
        began.append(True)

    left = asyncio.create_task(on_loop(loop, work, lambda: None))
    waiting = asyncio.create_task(on_loop(loop, work, lambda: None))
    try:
        await asyncio.sleep(0)
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop))  # both had their turn
        left.cancel()
        with pytest.raises(asyncio.CancelledError):  # at once
            await asyncio.wait_for(left, 2)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
    with pytest.raises(CannotRunError, match="closed"):
        await waiting
    assert not began
