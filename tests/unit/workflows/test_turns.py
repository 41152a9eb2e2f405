"""Places are shared in turns: the many of one key hold up no other, nor do those that hang."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack

import pytest

from headwater_server.workflows.turns import KEPT_PART, Turns, may_take
from tests.support.virtual_time import run_in_virtual_time


class Crowd:
    """Holders of places, each for a time; notes in which order they begin."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.begun: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []

    def come(self, key: str, count: int, seconds: float) -> None:
        self.tasks += [asyncio.create_task(self._hold(key, seconds)) for _ in range(count)]

    async def _hold(self, key: str, seconds: float) -> None:
        async with self.turns.place(key):
            self.begun.append(key)
            await asyncio.sleep(seconds)

    def leave(self) -> None:
        for task in self.tasks:
            task.cancel()


def test_those_that_wait_take_turns_by_key() -> None:
    async def main() -> None:
        crowd = Crowd(Turns(1))
        for key, count in (("a", 4), ("b", 1), ("c", 2)):
            crowd.come(key, count, 1.0)
        await asyncio.gather(*crowd.tasks)
        assert crowd.begun == ["a", "a", "b", "c", "a", "c", "a"]

    run_in_virtual_time(main())


def test_a_key_whose_holders_hang_keeps_no_other_from_a_place() -> None:
    async def main() -> None:
        crowd = Crowd(Turns(256))
        crowd.come("hangs", 1000, 1e9)
        await asyncio.sleep(1)
        assert len(crowd.begun) == 256 - 256 // KEPT_PART
        crowd.come("other", 1, 1.0)
        await asyncio.sleep(0)
        assert crowd.begun[-1] == "other"
        crowd.leave()

    run_in_virtual_time(main())


def test_each_key_gets_one_place_however_many_hang() -> None:
    async def main() -> None:
        crowd = Crowd(Turns(8, one_for_each=True))
        for number in range(100):
            crowd.come(f"hangs {number}", 20, 1e9)
        await asyncio.sleep(1)
        assert set(Counter(crowd.begun)) == {f"hangs {number}" for number in range(100)}
        crowd.come("other", 3, 1.0)
        await asyncio.sleep(10)
        assert crowd.begun.count("other") == 3
        crowd.leave()

    run_in_virtual_time(main())


def test_a_wait_that_is_cancelled_leaves_the_line_and_keeps_no_place() -> None:
    async def main() -> None:
        turns = Turns(1)
        async with AsyncExitStack() as held:
            await held.enter_async_context(turns.place("a"))
            waiting, granted = (asyncio.create_task(_pass(turns, "b")) for _ in range(2))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
        granted.cancel()  # its turn has come, and it has not noticed yet
        await asyncio.wait([granted])
        assert granted.cancelled()
        async with asyncio.timeout(1):
            await _pass(turns, "c")
        assert not turns._lines
        assert not turns._held

    run_in_virtual_time(main())


def test_places_come_back_when_those_that_hold_and_those_that_wait_are_cancelled_at_once() -> None:
    async def main() -> None:
        crowd = Crowd(Turns(8))
        crowd.come("cancelled", 30, 1e9)
        await asyncio.sleep(1)
        crowd.leave()
        assert all(
            isinstance(end, asyncio.CancelledError)
            for end in await asyncio.gather(*crowd.tasks, return_exceptions=True)
        )
        crowd.come("other", 30, 1e9)
        await asyncio.sleep(1)
        assert crowd.begun.count("other") == 7
        crowd.leave()

    run_in_virtual_time(main())


async def _pass(turns: Turns, key: str) -> None:
    async with turns.place(key):
        pass


@pytest.mark.parametrize(
    ("held", "free", "places", "may"),
    [
        (0, 1, 256, True),
        (0, 0, 256, False),
        (1, 33, 256, True),
        (1, 32, 256, False),
        (7, 1, 8, False),
        (6, 1, 7, True),
        (1, 1, 2, True),
    ],
)
def test_one_place_of_eight_is_kept_for_keys_that_hold_none(held: int, free: int, places: int, may: bool) -> None:
    assert may_take(held, free, places) is may
