"""The limits of how much a provider is asked: calls get through, wait, or are refused with the time to come again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

import pytest

from headwater_server.domain.chunks import Delta, Finish, FinishReason, ProviderEvent, Usage
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.messages import ChatRequest, Message, Role, Text
from headwater_server.providers.admitted import AdmittedStream
from headwater_server.providers.gate import Gate, GateLimits
from headwater_server.streaming.source import ReadSource
from tests.support.virtual_time import run_in_virtual_time


def virtual(test: Callable[..., Awaitable[None]]):
    def run(**arguments: object) -> None:
        run_in_virtual_time(test(**arguments))  # type: ignore[arg-type]

    run.__name__ = test.__name__
    return run


def gate(**limits: float) -> Gate:
    return Gate("providers.box", GateLimits(**limits))  # type: ignore[arg-type]


async def refusal(gate: Gate, tokens: int = 0) -> HeadwaterError:
    began = asyncio.get_running_loop().time()
    with pytest.raises(HeadwaterError) as caught:
        await gate.enter(tokens)
    assert caught.value.reason is Reason.SERVER_OVERLOADED
    assert asyncio.get_running_loop().time() - began == pytest.approx(gate.limits.max_wait_seconds)
    return caught.value


@virtual
async def test_a_call_past_the_limit_of_calls_at_once_is_refused_at_once_until_one_has_left():
    full = gate(max_concurrent=2)
    await full.enter()
    await full.enter()
    error = await refusal(full)
    assert error.message == "providers.box.max_concurrent is reached (2); try again later, or raise it"
    assert (error.metadata, error.retry_after_seconds) == ({"limit": "max_concurrent"}, 1.0)
    full.leave()
    await full.enter()


@virtual
async def test_a_minutes_calls_go_through_at_once_and_then_evenly():
    calls = gate(requests_per_minute=60)
    for _ in range(60):
        await calls.enter()
    error = await refusal(calls)
    assert error.retry_after_seconds == pytest.approx(1.0)
    assert error.metadata == {"limit": "requests_per_minute"}
    await asyncio.sleep(30.01)
    for _ in range(30):
        await calls.enter()
    await refusal(calls)


@virtual
async def test_the_tokens_of_a_reply_are_put_right_at_its_end_and_later_calls_wait_for_what_is_owed():
    tokens = gate(tokens_per_minute=600)
    await tokens.enter(100)
    tokens.leave(800)  # 900 of 600
    assert (await refusal(tokens, 1)).retry_after_seconds == pytest.approx(30.1)
    await asyncio.sleep(30.2)
    await tokens.enter(1)


@virtual
async def test_a_prompt_of_more_tokens_than_a_minute_has_goes_through_when_the_bucket_is_full():
    tokens = gate(tokens_per_minute=600)
    await tokens.enter(6_000)
    assert (await refusal(tokens, 6_000)).retry_after_seconds == pytest.approx(600)


@virtual
async def test_a_wait_that_is_longer_than_allowed_is_not_begun():
    tokens = gate(tokens_per_minute=600, max_wait_seconds=5)
    await tokens.enter(600)
    with pytest.raises(HeadwaterError) as caught:
        await tokens.enter(600)
    assert caught.value.retry_after_seconds == pytest.approx(60)
    assert asyncio.get_running_loop().time() == 0
    await tokens.enter(40)
    assert asyncio.get_running_loop().time() == pytest.approx(4)


@virtual
async def test_calls_wait_in_line_for_the_time_that_is_allowed():
    full, order = gate(max_concurrent=1, max_wait_seconds=5), []

    async def call(name: str, after: float, seconds: float) -> None:
        await asyncio.sleep(after)
        await full.enter()
        order.append((name, asyncio.get_running_loop().time()))
        await asyncio.sleep(seconds)
        full.leave()

    await asyncio.gather(call("a", 0, 2), call("b", 0.1, 2), call("c", 0.2, 9))
    assert order == [("a", 0), ("b", 2), ("c", 4)]
    await full.enter()
    await refusal(full)


@virtual
async def test_a_call_that_comes_while_others_wait_does_not_overtake_them():
    calls = gate(requests_per_minute=60, max_wait_seconds=5)
    for _ in range(60):
        await calls.enter()
    order: list[int] = []

    async def call(number: int) -> None:
        await asyncio.sleep(0.9 * number)
        await calls.enter()
        order.append(number)

    await asyncio.gather(*map(call, range(4)))
    assert order == [0, 1, 2, 3]


@virtual
async def test_a_call_that_leaves_the_line_takes_no_place():
    full = gate(max_concurrent=1, max_wait_seconds=50)
    await full.enter()
    waiting = asyncio.create_task(full.enter())
    await asyncio.sleep(1)
    waiting.cancel()
    await asyncio.wait([waiting])
    full.leave()
    await full.enter()
    assert asyncio.get_running_loop().time() == 1


class Reply(ReadSource):
    """A reply of 500 tokens."""

    request_id, heard = "req", 7.0

    def __init__(self) -> None:
        self._events: list[list[ProviderEvent]] = [
            [Delta(content="Hi")],
            [Finish(FinishReason.STOP, usage=Usage(total_tokens=500))],
        ]

    async def read(self) -> list[ProviderEvent]:
        return self._events.pop(0) if self._events else []


REQUEST = ChatRequest("m", (Message(Role.USER, (Text("x" * 400),)),))


@virtual
async def test_a_reply_takes_its_place_with_the_first_read_and_gives_it_back_once():
    full = gate(max_concurrent=1)
    first, second = AdmittedStream(Reply(), full, REQUEST), AdmittedStream(Reply(), full, REQUEST)
    await first.read()
    with pytest.raises(HeadwaterError):
        await second.read()
    await second.aclose()
    assert (first.request_id, first.heard) == ("req", 7.0)
    await first.aclose()
    await first.aclose()
    await AdmittedStream(Reply(), full, REQUEST).read()
    await refusal(full)


@virtual
async def test_a_reply_counts_with_its_prompt_and_then_as_the_provider_counts():
    tokens = gate(tokens_per_minute=600)
    reply = AdmittedStream(Reply(), tokens, REQUEST)
    await reply.read()
    await refusal(tokens, 501)  # 600 - 400 / 4
    await reply.read()
    await reply.aclose()
    assert (await refusal(tokens, 101)).retry_after_seconds == pytest.approx(0.1)  # 600 - 500


class Refusal(Reply):
    """A prompt that the provider refuses."""

    async def read(self) -> list[ProviderEvent]:
        raise HeadwaterError(Reason.CONTEXT_WINDOW_EXCEEDED, "too long")


LONG = ChatRequest("m", (Message(Role.USER, (Text("x" * 40_000),)),))


@virtual
async def test_a_prompt_of_many_minutes_keeps_others_out_for_one():
    tokens = gate(tokens_per_minute=600)
    reply = AdmittedStream(Reply(), tokens, LONG)
    await reply.read()
    await reply.aclose()
    assert (await refusal(tokens, 600)).retry_after_seconds == pytest.approx(60)


@virtual
async def test_a_prompt_that_is_refused_gives_its_tokens_back():
    tokens = gate(tokens_per_minute=600)
    reply = AdmittedStream(Refusal(), tokens, LONG)
    with pytest.raises(HeadwaterError):
        await reply.read()
    await reply.aclose()
    await tokens.enter(600)


@virtual
async def test_callers_that_leave_at_random_leave_no_place_taken():
    full, chance = gate(max_concurrent=3, tokens_per_minute=10**9, max_wait_seconds=1), Random(13)  # noqa: S311

    async def call() -> None:
        reply = AdmittedStream(Reply(), full, REQUEST)
        try:
            await asyncio.sleep(chance.random())
            await reply.read()
            await asyncio.sleep(chance.random())
        finally:
            await reply.aclose()

    calls = [asyncio.create_task(call()) for _ in range(200)]
    for each in calls:
        await asyncio.sleep(chance.random() / 50)
        each.cancel()
    await asyncio.wait(calls)
    for _ in range(3):
        await full.enter()
    with pytest.raises(HeadwaterError, match="max_concurrent"):
        await full.enter()
