"""A place among the calls that a provider may have at once: taken for an attempt, and given back on every path."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from random import Random

import pytest

from headwater_server.domain.chunks import Delta
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.providers.gate import Gate, GateLimits
from tests.support.services.attempts import HELLO, Calls, Plan, PlannedProvider, fails
from tests.support.services.resumable import in_virtual_time

LIMITED = fails(Reason.PROVIDER_RATE_LIMITED, retry_after=2)


def gate(places: int, max_wait_seconds: float = 0.0) -> Gate:
    return Gate("providers.a", GateLimits(max_concurrent=places, max_wait_seconds=max_wait_seconds))


@in_virtual_time
async def test_a_call_that_waits_for_its_next_attempt_takes_no_place():
    calls = Calls(PlannedProvider("a", LIMITED, HELLO), gates={"a": gate(1)})
    waiting = asyncio.create_task(calls.ask())
    await asyncio.sleep(1)
    assert (await calls.ask()).seconds == 0
    assert (await waiting).seconds == 2


@in_virtual_time
async def test_another_model_answers_while_the_first_has_no_place():
    calls = Calls(PlannedProvider("a", 1.0), PlannedProvider("b"), gates={"a": gate(1)})
    first = asyncio.create_task(calls.ask())
    await asyncio.sleep(0.1)
    answered = await calls.ask(fallback_models=["b/m"])
    assert (answered.who, answered.tried) == ("b/m", [("a", Reason.SERVER_OVERLOADED)])
    assert (await first).who == "a/m"
    await asyncio.sleep(2)  # the rest of its answer is read
    assert (await calls.ask(fallback_models=["b/m"])).who == "a/m"  # it does not cool down


@pytest.mark.parametrize("seed", range(3))
def test_callers_that_end_in_all_ways_leave_no_place_taken(seed):
    @in_virtual_time
    async def test():
        chance = Random(seed)  # noqa: S311  the same numbers in each run
        plans: list[Plan] = [LIMITED, fails(Reason.PROVIDER_UNAVAILABLE), HELLO, [Delta(content="cut")], 1.0, 40.0]
        provider = PlannedProvider("a", *(chance.choice(plans) for _ in range(2_000)))
        places = gate(5, max_wait_seconds=1)
        calls = Calls(provider, chance=chance.random, gates={"a": places})
        ends: Counter[str] = Counter()

        def cancel(stream_id: str) -> None:
            with suppress(HeadwaterError):  # it has ended
                calls.streams.cancel_stream(stream_id)

        async def call() -> None:
            await asyncio.sleep(chance.random() * 60)
            try:
                async with asyncio.timeout(chance.random() * 40), calls.open_stream() as stream:
                    if chance.random() < 0.3:
                        asyncio.get_running_loop().call_later(chance.random() * 3, cancel, stream.id)
                    await stream.next()
                    await asyncio.sleep(chance.random())
                ends["left"] += 1
            except TimeoutError:
                ends["cancelled"] += 1
            except HeadwaterError as error:
                ends[error.reason] += 1

        await asyncio.gather(*(call() for _ in range(200)))
        await asyncio.sleep(2)  # the rest of each answer is read
        assert {"left", "cancelled", Reason.SERVER_OVERLOADED, Reason.STREAM_CANCELLED} <= ends.keys(), ends
        assert len(provider.asked) > 80  # many got a place
        assert all(stream.closed for stream in provider.streams)
        assert not calls.streams
        for _ in range(5):
            await places.enter()
        with pytest.raises(HeadwaterError, match="max_concurrent"):
            await places.enter()

    test()
