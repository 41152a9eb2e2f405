"""A model that fails is passed over for a while; one request tries it, and then all come back."""

from __future__ import annotations

import asyncio

import pytest

from headwater_server.attempts import circuits
from headwater_server.domain.errors import Reason
from tests.support.services.attempts import HELLO, Calls, PlannedProvider, fails
from tests.support.services.resumable import in_virtual_time

BUSY = fails(Reason.PROVIDER_UNAVAILABLE)
COOLS = [
    Reason.PROVIDER_RATE_LIMITED,
    Reason.PROVIDER_UNAVAILABLE,
    Reason.STREAM_TIMEOUT,
    Reason.PROVIDER_AUTH_FAILED,
    Reason.PROVIDER_QUOTA_EXHAUSTED,
    Reason.MODEL_NOT_FOUND,
]


async def who(calls: Calls, after: float = 0.0, **agent: object) -> str:
    """The model that answers a request so many seconds later."""
    await asyncio.sleep(after)
    return (await calls.ask(fallback_models=["b/m"], **agent)).who


@pytest.mark.parametrize("reason", COOLS)
def test_a_model_that_failed_is_passed_over_until_it_has_cooled_down(reason):
    @in_virtual_time
    async def test():
        first = PlannedProvider("a", fails(reason), HELLO)
        calls = Calls(first, PlannedProvider("b"))
        assert [await who(calls), await who(calls), await who(calls, 4.9), await who(calls, 0.2)] == [
            "b/m",
            "b/m",
            "b/m",
            "a/m",
        ]
        assert len(first.asked) == 2

    test()


@in_virtual_time
async def test_a_model_cools_down_as_long_as_its_provider_says():
    first = PlannedProvider("a", fails(Reason.PROVIDER_RATE_LIMITED, retry_after=20), HELLO)
    calls = Calls(first, PlannedProvider("b"))
    assert [await who(calls), await who(calls, 19), await who(calls, 2)] == ["b/m", "b/m", "a/m"]


@in_virtual_time
async def test_a_context_that_is_too_long_says_nothing_about_the_model():
    first = PlannedProvider("a", fails(Reason.CONTEXT_WINDOW_EXCEEDED), HELLO)
    calls = Calls(first, PlannedProvider("b"))
    assert [await who(calls), await who(calls)] == ["b/m", "a/m"]


@in_virtual_time
async def test_one_request_probes_and_the_others_do_without_until_it_is_answered():
    first = PlannedProvider("a", BUSY, 3.0)
    calls = Calls(first, PlannedProvider("b"))
    await who(calls)
    await asyncio.sleep(5)
    probe = asyncio.create_task(who(calls))
    assert [await who(calls, 1), await who(calls, 1)] == ["b/m", "b/m"]
    assert (await probe, await who(calls)) == ("a/m", "a/m")
    assert len(first.asked) == 3


@in_virtual_time
async def test_a_probe_that_fails_doubles_the_time():
    first = PlannedProvider("a", BUSY)
    calls = Calls(first, PlannedProvider("b"))
    for _ in range(101):
        await who(calls, 1)
    assert first.times == [1, 6, 16, 36, 76]


@in_virtual_time
async def test_the_time_has_a_bound():
    found = circuits.Circuits(5)
    key = ("a", "", "m")
    for _ in range(20):
        found.failed(key, None)
        await asyncio.sleep(found.ready(key) - asyncio.get_running_loop().time())
        assert found.ask(key)
    began = asyncio.get_running_loop().time()
    found.failed(key, 10**6)
    assert found.ready(key) - began == circuits.LONGEST_SAID_SECONDS


@in_virtual_time
async def test_a_probe_whose_caller_leaves_gives_its_turn_to_the_next():
    first = PlannedProvider("a", BUSY, 20.0, HELLO)
    calls = Calls(first, PlannedProvider("b"))
    await who(calls)
    await asyncio.sleep(5)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await who(calls)
    assert await who(calls) == "a/m"


@in_virtual_time
async def test_a_model_with_nothing_beside_it_is_never_refused():
    first = PlannedProvider("a", BUSY, HELLO)
    calls = Calls(first, PlannedProvider("b"))
    await who(calls)
    answered = await calls.ask()
    assert (answered.who, answered.seconds) == ("a/m", 0)


@in_virtual_time
async def test_when_all_cool_down_the_one_that_is_back_first_is_asked():
    first = PlannedProvider("a", fails(Reason.PROVIDER_RATE_LIMITED, retry_after=20), HELLO)
    second = PlannedProvider("b", fails(Reason.PROVIDER_RATE_LIMITED, retry_after=10), HELLO)
    calls = Calls(first, second)
    await calls.refused(fallback_models=["b/m"], max_attempts=2)
    answered = await calls.ask(fallback_models=["b/m"])
    assert (answered.who, answered.seconds) == ("b/m", 0)


@pytest.mark.parametrize(
    "own",
    [
        {"timeouts": {"first_chunk": {"seconds": 1}}},
        {"timeouts": {"connect": {"seconds": 1}}},
        {"provider_options": {"a": {"fields": {"x": {"number_value": 1}}}}},
        {"key": "sk-bad"},
    ],
)
def test_no_caller_can_keep_others_from_a_model(own):
    @in_virtual_time
    async def test():
        first = PlannedProvider("a", fails(Reason.STREAM_TIMEOUT), HELLO)
        calls = Calls(first, PlannedProvider("b"))
        assert [await who(calls, **own), await who(calls)] == ["b/m", "a/m"]

    test()


def test_the_circuits_that_are_remembered_are_bounded(monkeypatch):
    monkeypatch.setattr(circuits, "MAX_CIRCUITS", 3)

    @in_virtual_time
    async def test():
        found = circuits.Circuits(5)
        for number in range(9):
            found.failed(("a", "", f"m{number}"), None)
        assert [number for number in range(9) if found.ready(("a", "", f"m{number}"))] == [6, 7, 8]

    test()


@pytest.mark.parametrize("reason", COOLS)
@pytest.mark.parametrize("said", [None, 200])
def test_a_model_that_cools_down_is_asked_at_once_when_all_others_have_failed(reason, said):
    @in_virtual_time
    async def test():
        first = PlannedProvider("a", HELLO, fails(reason))
        second = PlannedProvider("b", fails(Reason.PROVIDER_UNAVAILABLE, retry_after=said), HELLO)
        calls = Calls(first, second)
        await calls.refused(model="b/m", max_attempts=1)
        await calls.ask()
        answered = await calls.ask(fallback_models=["b/m"])
        assert (answered.who, answered.seconds) == ("b/m", 0)

    test()


@in_virtual_time
async def test_of_requests_that_come_together_one_probes():
    first = PlannedProvider("a", BUSY, 3.0)
    calls = Calls(first, PlannedProvider("b"))
    await who(calls)
    await asyncio.sleep(5)
    async with calls.open_stream(fallback_models=["b/m"]) as probe:
        assert await who(calls) == "b/m"
        await probe.next()
        assert probe.answerer.provider == "a"
    assert await who(calls) == "a/m"
