"""Large work is done on a thread, one piece at a time."""

from __future__ import annotations

import asyncio
import threading

import pytest

from headwater_server.telemetry.aside import Aside


async def test_small_work_is_done_at_once() -> None:
    assert await Aside().do(threading.current_thread, is_large=False) is threading.current_thread()


async def test_large_work_is_done_on_a_thread_one_piece_at_a_time() -> None:
    aside, together, most = Aside(), 0, 0
    go_on = threading.Event()

    def work() -> threading.Thread:
        nonlocal together, most
        together += 1
        most = max(most, together)
        go_on.wait(10)
        together -= 1
        return threading.current_thread()

    pieces = [asyncio.create_task(aside.do(work, is_large=True)) for _ in range(3)]
    await asyncio.sleep(0)  # the event loop has its turn
    go_on.set()
    assert threading.current_thread() not in await asyncio.gather(*pieces)
    assert most == 1


async def test_an_error_of_the_work_is_that_of_the_call() -> None:
    with pytest.raises(ZeroDivisionError):
        await Aside().do(lambda: 1 // 0, is_large=True)
