"""A coroutine that runs at once until it must wait."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from headwater_server.streaming.begun import Begun


class Work:
    """Notes how far it came; it waits twice, and once more at its end for its cleaning up."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.gates: list[asyncio.Future[None]] = [asyncio.get_running_loop().create_future() for _ in range(2)]

    async def run(self) -> str:
        self.steps.append("begun")
        try:
            for number, gate in enumerate(self.gates):
                await gate
                self.steps.append(f"passed {number}")
        finally:
            self.steps.append("over")
        return "done"


async def test_it_runs_at_once_until_it_must_wait():
    work = Work()
    begun = Begun(work.run())
    assert work.steps == ["begun"]
    work.gates[0].set_result(None)
    await asyncio.sleep(0)
    assert work.steps == ["begun"]  # it is not awaited yet
    asyncio.get_running_loop().call_soon(work.gates[1].set_result, None)
    assert await begun == "done"
    assert work.steps == ["begun", "passed 0", "passed 1", "over"]


async def test_what_needs_no_wait_is_there_at_once():
    async def run() -> int:
        return 7

    assert await Begun(run()) == 7


async def test_an_error_is_raised_where_it_is_awaited():
    async def run(gate: asyncio.Future[None] | None) -> None:
        if gate is not None:
            await gate
        raise ValueError("no")

    gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    for begun in (Begun(run(None)), Begun(run(gate))):
        if not gate.done():
            asyncio.get_running_loop().call_soon(gate.set_result, None)
        with pytest.raises(ValueError, match="no"):
            await begun


@pytest.mark.parametrize("passed", [0, 1])
async def test_a_task_that_is_cancelled_cancels_it_where_it_waits(passed):
    work = Work()

    async def run() -> None:
        begun = Begun(work.run())
        for gate in work.gates[:passed]:
            gate.set_result(None)
        await begun

    task = asyncio.create_task(run())
    for _ in range(3):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert work.steps == ["begun", *(f"passed {number}" for number in range(passed)), "over"]
    assert work.gates[passed].cancelled()


async def test_it_can_take_a_cancellation_back():
    async def run(gate: asyncio.Future[None]) -> str:
        try:
            await gate
        except asyncio.CancelledError:
            return "taken back"
        return ""

    async def call() -> Any:
        return await Begun(run(asyncio.get_running_loop().create_future()))

    task = asyncio.create_task(call())
    await asyncio.sleep(0)
    task.cancel()
    assert await task == "taken back"


async def test_a_timeout_within_it_ends_it():
    async def run() -> str:
        try:
            async with asyncio.timeout(0.001):
                await asyncio.get_running_loop().create_future()
        except TimeoutError:
            return "late"
        return ""

    assert await Begun(run()) == "late"


async def test_one_that_is_closed_ends_where_it_waits():
    work = Work()
    begun = Begun(work.run())
    begun.close()
    begun.close()
    assert work.steps == ["begun", "over"]
    assert work.gates[0].cancelled()
    ended = Begun(asyncio.sleep(0, "x"))
    assert await ended == "x"
    ended.close()
