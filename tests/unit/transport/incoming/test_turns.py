"""Calls that have waited too long for their turn."""

from __future__ import annotations

import asyncio

import pytest

from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.transport.incoming.turns import AFTER_SECONDS, LONGEST_SECONDS, Turns
from tests.support.virtual_time import VirtualTimeLoop


async def held_for(seconds: float) -> Turns:
    """The turns of a loop that something has just held for so long."""
    turns, loop = Turns(), asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    turns.start()
    await asyncio.sleep(5)
    loop._now += seconds
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return turns


def in_virtual_time(work):
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(work)


def test_a_call_that_was_taken_after_the_loop_was_held_is_refused_with_the_time_to_wait():
    async def main() -> None:
        turns = await held_for(LONGEST_SECONDS + 2)
        with pytest.raises(HeadwaterError) as caught:
            turns.check()
        assert caught.value.reason is Reason.SERVER_OVERLOADED
        assert caught.value.retry_after_seconds == 1.0
        await asyncio.sleep(AFTER_SECONDS)
        turns.check()
        turns.stop()

    in_virtual_time(main())


def test_a_shorter_wait_is_none():
    async def main() -> None:
        turns = await held_for(LONGEST_SECONDS - 1)
        turns.check()
        turns.stop()

    in_virtual_time(main())


def test_turns_that_do_not_watch_refuse_nothing():
    async def main() -> None:
        turns = Turns()
        turns.check()
        turns.stop()

    in_virtual_time(main())
