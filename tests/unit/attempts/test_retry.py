"""A failure before the first chunk is repaired where another attempt can help, and costs the caller only time."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from headwater_server.domain.chunks import Delta, Finish, FinishReason, ToolCallDelta
from headwater_server.domain.errors import HeadwaterError, Reason
from tests.support.services.attempts import HELLO, Calls, PlannedProvider, fails
from tests.support.services.resumable import in_virtual_time

BUSY = fails(Reason.PROVIDER_UNAVAILABLE, http_status="503")
LIMITED = fails(Reason.PROVIDER_RATE_LIMITED, retry_after=20)


@in_virtual_time
async def test_a_provider_that_fails_once_costs_its_caller_a_wait_and_nothing_else():
    provider = PlannedProvider("a", BUSY, HELLO)
    answered = await Calls(provider).ask()
    assert (answered.text, answered.who, answered.tried) == ("Hello", "a/m", [("a", Reason.PROVIDER_UNAVAILABLE)])
    [attempt] = answered.stream.answerer.tried
    assert attempt.failure.provider is not None
    assert (attempt.failure.provider.http_status, attempt.failure.provider.request_id) == (503, "req-a-1")
    assert attempt.wait_seconds == answered.seconds == 0.25  # half of the half second, for chance has given 0
    assert provider.streams[0].closed


@in_virtual_time
async def test_a_silent_provider_is_asked_again_after_its_limit():
    provider = PlannedProvider("a", 31.0, 9.0)
    answered = await Calls(provider).ask()
    assert (answered.text, answered.tried) == ("Hello", [("a", Reason.STREAM_TIMEOUT)])
    assert answered.stream.answerer.tried[0].duration_seconds == 30
    assert answered.seconds == 30.25 + 9 + 9  # the reply's second event is as slow


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_a_retry_waits_as_long_as_the_provider_says_and_up_to_a_tenth_longer(chance):
    @in_virtual_time
    async def test():
        provider = PlannedProvider("a", LIMITED, HELLO)
        await Calls(provider, chance=lambda: chance).ask()
        assert provider.times == [0, 20 * (1 + 0.1 * chance)]

    test()


@in_virtual_time
async def test_waits_double_and_have_a_bound():
    provider = PlannedProvider("a", BUSY)
    await Calls(provider, chance=lambda: 1.0, max_attempts=6, max_wait_seconds=3.0).refused()
    waits = [after - before for before, after in zip(provider.times, provider.times[1:], strict=False)]
    assert waits == [0.5, 1, 2, 3, 3]


@in_virtual_time
async def test_a_reply_is_asked_for_three_times_at_most_and_the_error_lists_them():
    provider = PlannedProvider("a", BUSY)
    error, _ = await Calls(provider).refused()
    assert (error.reason, len(provider.asked), len(error.attempts)) == (Reason.PROVIDER_UNAVAILABLE, 3, 3)
    assert (error.metadata["provider"], error.metadata["model"]) == ("a", "m")
    assert error.metadata["provider_request_id"] == "req-a-3"
    assert error.metadata["stream_id"]


@pytest.mark.parametrize("limit", [1, 2])
def test_the_caller_says_how_often(limit):
    @in_virtual_time
    async def test():
        provider = PlannedProvider("a", BUSY)
        await Calls(provider).refused(max_attempts=limit)
        assert len(provider.asked) == limit

    test()


@in_virtual_time
async def test_an_only_attempt_is_not_listed():
    error, seconds = await Calls(PlannedProvider("a", BUSY)).refused(max_attempts=1)
    assert (error.attempts, seconds) == ((), 0)


RETRIED = {Reason.PROVIDER_RATE_LIMITED, Reason.PROVIDER_UNAVAILABLE, Reason.STREAM_TIMEOUT}


@pytest.mark.parametrize("reason", sorted(set(Reason) - RETRIED))
def test_nothing_else_is_tried_again(reason):
    @in_virtual_time
    async def test():
        provider = PlannedProvider("a", fails(reason), HELLO)
        error, seconds = await Calls(provider).refused()
        assert (error.reason, len(provider.asked), seconds) == (reason, 1, 0)

    test()


@in_virtual_time
async def test_a_fault_of_headwater_is_not_tried_again():
    class Faulty(PlannedProvider):
        def stream(self, request):
            reply = super().stream(request)
            reply.read = None
            return reply

    provider = Faulty("a", HELLO)
    error, _ = await Calls(provider).refused()
    assert (error.reason, len(provider.asked)) == (Reason.INTERNAL, 1)


FIRST_CHUNKS = [
    Delta(content="H"),
    Delta(thinking="Hm"),
    Delta(tool_calls=[ToolCallDelta(0, "c", "t")]),
    Delta(refusal="No"),
    Delta(thinking_signature="s"),
]


@pytest.mark.parametrize("first", FIRST_CHUNKS)
def test_nothing_is_tried_after_the_first_chunk(first):
    @in_virtual_time
    async def test():
        provider = PlannedProvider("a", [first], HELLO)
        error, _ = await Calls(provider).refused()
        assert (error.reason, len(provider.asked)) == (Reason.STREAM_INTERRUPTED, 1)

    test()


@in_virtual_time
async def test_events_before_the_first_chunk_go_with_their_attempt():
    opaque, mine = Delta(provider_data='{"id": "lost"}'), Delta(provider_data='{"id": "kept"}')
    call = Delta(tool_calls=[ToolCallDelta(0, "c", "t", "{}")])
    provider = PlannedProvider("a", [opaque], [mine, call, Finish(FinishReason.TOOL_CALLS)])
    answered = await Calls(provider).ask(tools=[{"function": {"name": "t"}}])
    assert answered.tried == [("a", Reason.PROVIDER_UNAVAILABLE)]
    message = answered.final.message
    assert message is not None
    kept = [part.provider_data.data_json for part in message.parts if part.provider_data]  # type: ignore[union-attr]
    assert kept == ['{"id": "kept"}']


@pytest.mark.parametrize("data", ["{}", '"' + "x" * 100_000 + '"'])
def test_events_before_the_first_chunk_take_no_more_memory_than_a_message(data):
    @in_virtual_time
    async def test():
        provider = PlannedProvider("a", [Delta(provider_data=data)] * 10_000)
        error, _ = await Calls(provider).refused(max_attempts=1)
        assert error.reason is Reason.PROVIDER_UNAVAILABLE
        assert error.message.endswith("the provider sent 3 MiB of data before any text")
        assert len(provider.streams[0].left) > 2_000

    test()


@in_virtual_time
async def test_an_empty_reply_is_a_reply():
    provider = PlannedProvider("a", [Finish(FinishReason.STOP)])
    answered = await Calls(provider).ask()
    assert (answered.text, len(provider.asked)) == ("", 1)


@in_virtual_time
async def test_a_wait_past_the_callers_deadline_is_not_begun():
    provider = PlannedProvider("a", LIMITED, HELLO)
    error, seconds = await Calls(provider).refused(deadline=15.0)
    assert (error.reason, error.retry_after_seconds, seconds) == (Reason.PROVIDER_RATE_LIMITED, 20, 0)
    assert len(provider.asked) == 1
    unsaid = PlannedProvider("a", BUSY, HELLO)
    error, _ = await Calls(unsaid).refused(deadline=0.1)
    assert (error.retry_after_seconds, len(unsaid.asked)) == (0.25, 1)


@in_virtual_time
async def test_a_wait_past_the_end_of_the_whole_time_is_not_begun():
    provider = PlannedProvider("a", LIMITED, HELLO)
    error, seconds = await Calls(provider).refused(timeouts={"total": {"seconds": 15}})
    assert (error.reason, error.retry_after_seconds, seconds) == (Reason.PROVIDER_RATE_LIMITED, 20, 0)


@in_virtual_time
async def test_a_provider_that_says_to_come_at_once_is_not_hammered():
    provider = PlannedProvider("a", fails(Reason.PROVIDER_RATE_LIMITED, retry_after=0))
    await Calls(provider).refused()
    assert provider.times == [0, 0.25, 0.75]


@in_virtual_time
async def test_a_longer_wait_than_allowed_is_not_begun():
    provider = PlannedProvider("a", fails(Reason.PROVIDER_RATE_LIMITED, retry_after=61), HELLO)
    error, seconds = await Calls(provider).refused()
    assert (error.retry_after_seconds, seconds, len(provider.asked)) == (61, 0, 1)


@in_virtual_time
async def test_cancelling_ends_a_wait_at_once():
    calls = Calls(PlannedProvider("a", LIMITED, HELLO))
    loop = asyncio.get_running_loop()
    async with calls.open_stream() as stream:
        loop.call_later(5, calls.streams.cancel_stream, stream.id)
        with pytest.raises(HeadwaterError) as caught:
            await stream.next()
    assert (caught.value.reason, loop.time()) == (Reason.STREAM_CANCELLED, 5)


@in_virtual_time
async def test_a_caller_that_leaves_ends_a_wait_at_once():
    provider = PlannedProvider("a", LIMITED, HELLO)
    calls = Calls(provider)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5):
            await calls.ask()
    assert (asyncio.get_running_loop().time(), len(calls.streams), len(provider.asked)) == (5, 0, 1)


@in_virtual_time
async def test_a_drain_ends_a_wait():
    calls = Calls(PlannedProvider("a", LIMITED, HELLO))
    async with calls.open_stream() as stream:
        asyncio.get_running_loop().call_later(1, asyncio.ensure_future, calls.streams.drain(0))
        with pytest.raises(HeadwaterError) as caught:
            await stream.next()
    assert caught.value.reason is Reason.SERVER_DRAINING


@in_virtual_time
async def test_a_chunk_costs_nothing_here_once_the_reply_has_begun():
    provider = PlannedProvider("a", BUSY, [Delta(content="a"), Delta(content="b"), Finish(FinishReason.STOP)])
    async with Calls(provider).open_stream() as stream:
        await stream.next()
        assert stream._source.read == provider.streams[1].read


@in_virtual_time
async def test_failed_attempts_leave_nothing_to_the_garbage_collector():
    provider = PlannedProvider("a", BUSY, BUSY, HELLO)
    gc.collect()
    gc.disable()
    calls = Calls(provider)
    try:
        async with calls.open_stream() as stream:
            await stream.next()
            gone = weakref.ref(stream._source)
            await stream.next()
        del stream
        await calls.streams.close()
        assert gone() is None
    finally:
        gc.enable()
