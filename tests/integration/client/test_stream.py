"""A streamed call, from its first `anext` to each way that it can end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from headwater import Agent, StreamChunk, StreamInterruptedError, StreamTimeoutError
from headwater.v1 import agent_pb2
from tests.support.services.fake_agent_service import (
    Chunks,
    FakeAgentService,
    final,
    first,
    say,
    say_forever,
    say_then_wait,
)


async def test_chunks_arrive_in_order_and_the_last_is_final(agent: Agent) -> None:
    chunks = [chunk async for chunk in agent.stream("Hi")]
    assert [chunk.content for chunk in chunks] == ["Hello", " ", "world", ""]
    assert [chunk.is_final for chunk in chunks] == [False, False, False, True]
    assert all(isinstance(chunk, StreamChunk) for chunk in chunks)


async def test_stream_returns_at_once_and_sends_nothing_before_the_first_anext(
    agent: Agent, service: FakeAgentService
) -> None:
    stream = agent.stream("Hi")
    assert isinstance(stream, AsyncIterator)
    await asyncio.sleep(0.05)
    assert service.requests == []
    assert service.connections() == 0
    await anext(stream)
    assert len(service.requests) == 1


async def test_a_stream_that_is_never_read_sends_nothing_and_warns_of_nothing(
    agent: Agent, service: FakeAgentService
) -> None:
    agent.stream("Hi")
    gc.collect()
    await asyncio.sleep(0.01)
    assert service.requests == []


async def test_break_ends_the_call_at_once(agent: Agent, service: FakeAgentService) -> None:
    service.reply = lambda request, context: say_forever()
    async for _ in agent.stream("Hi"):
        break
    left = time.monotonic()
    assert await asyncio.to_thread(service.wait_for_leaving) - left < 0.5


async def test_an_exception_in_the_loop_ends_the_call_at_once(agent: Agent, service: FakeAgentService) -> None:
    service.reply = lambda request, context: say_forever()
    with pytest.raises(KeyError):
        async for _ in agent.stream("Hi"):
            raise KeyError("mine")
    await asyncio.to_thread(service.wait_for_leaving)


async def test_dropping_the_stream_ends_the_call_at_once(agent: Agent, service: FakeAgentService) -> None:
    service.reply = lambda request, context: say_forever()
    stream = agent.stream("Hi")
    await anext(stream)
    del stream
    await asyncio.to_thread(service.wait_for_leaving)


async def test_a_stream_dropped_in_another_thread_ends_too(agent: Agent, service: FakeAgentService) -> None:
    service.reply = lambda request, context: say_forever()
    holder = [agent.stream("Hi")]
    await anext(holder[0])
    await asyncio.to_thread(holder.clear)
    await asyncio.to_thread(service.wait_for_leaving)


async def test_cancelling_the_reader_before_the_first_chunk_ends_the_call(
    agent: Agent, service: FakeAgentService
) -> None:
    service.reply = lambda request, context: say_then_wait()
    reader = asyncio.create_task(anext(agent.stream("Hi")))
    await asyncio.to_thread(service.wait_for_request)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    await asyncio.to_thread(service.wait_for_leaving)


async def test_cancelling_the_reader_before_anything_was_sent_is_quiet(agent: Agent) -> None:
    reader = asyncio.create_task(anext(agent.stream("Hi")))
    await asyncio.sleep(0)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader


async def test_aclosing_and_async_with_end_the_call(agent: Agent, service: FakeAgentService) -> None:
    service.reply = lambda request, context: say_forever()
    async with contextlib.aclosing(agent.stream("Hi")) as kept:
        await anext(kept)
    await asyncio.to_thread(service.wait_for_leaving)
    async with agent.stream("Hi") as stream:
        await anext(stream)
    await asyncio.to_thread(service.wait_for_leaving)
    assert [chunk async for chunk in stream] == []


async def test_closing_a_stream_that_another_task_reads_interrupts_the_reader(
    agent: Agent, service: FakeAgentService
) -> None:
    service.reply = lambda request, context: say_then_wait("some")
    stream = agent.stream("Hi")
    await anext(stream)
    reader = asyncio.create_task(anext(stream))
    await asyncio.sleep(0.01)
    await stream.aclose()
    with pytest.raises(StreamInterruptedError) as caught:
        await reader
    assert caught.value.partial_response == "some"


async def test_a_stream_whose_wait_was_cancelled_never_looks_finished(agent: Agent, service: FakeAgentService) -> None:
    service.reply = lambda request, context: say_then_wait("some")
    stream = agent.stream("Hi")
    assert (await anext(stream)).content == "some"
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(stream), 0.01)
    await asyncio.to_thread(service.wait_for_leaving)
    for _ in range(2):
        with pytest.raises(StreamInterruptedError, match="was cancelled; to wait for a while") as caught:
            await anext(stream)
        assert caught.value.partial_response == "some"


async def test_a_wait_that_is_kept_can_be_looked_at_from_time_to_time(agent: Agent, service: FakeAgentService) -> None:
    stream = agent.stream("Hi")
    words: list[str] = []
    wait = asyncio.ensure_future(anext(stream))
    while True:
        await asyncio.wait({wait}, timeout=0.001)
        if wait.done():
            chunk = wait.result()
            words.append(chunk.content)
            if chunk.is_final:
                break
            wait = asyncio.ensure_future(anext(stream))
    assert "".join(words) == "Hello world"


async def test_closing_the_agent_between_two_chunks_interrupts_the_reader(
    agent: Agent, service: FakeAgentService
) -> None:
    service.reply = lambda request, context: say_forever()
    stream = agent.stream("Hi")
    await anext(stream)
    await agent.aclose()
    with pytest.raises(StreamInterruptedError, match="closed before its final chunk"):
        await anext(stream)


async def test_two_tasks_cannot_wait_for_the_same_stream(agent: Agent, service: FakeAgentService) -> None:
    service.reply = lambda request, context: say_then_wait("some")
    stream = agent.stream("Hi")
    await anext(stream)
    reader = asyncio.create_task(anext(stream))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="another task"):
        await anext(stream)
    await stream.aclose()
    with pytest.raises(StreamInterruptedError):
        await reader


async def test_a_stream_that_has_said_nothing_yet_has_its_id(agent: Agent, service: FakeAgentService) -> None:
    service.reply = lambda request, context: say_then_wait()
    stream = agent.stream("Hi")
    assert stream.stream_id is None
    reader = asyncio.create_task(anext(stream))
    while stream.stream_id is None:
        await asyncio.sleep(0.005)
    assert stream.stream_id == "w0-1"
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader


async def test_a_stream_that_ends_without_its_final_chunk_is_interrupted(
    agent: Agent, service: FakeAgentService
) -> None:
    async def cut(request: object, context: object) -> Chunks:
        yield first("half")

    service.reply = cut
    with pytest.raises(StreamInterruptedError) as caught:
        [chunk async for chunk in agent.stream("Hi")]
    assert caught.value.partial_response == "half"


async def test_awaiting_a_stream_says_what_to_write(agent: Agent, service: FakeAgentService) -> None:
    awaited: Any = agent.stream("Hi")
    with pytest.raises(TypeError, match=r"async for .*await agent\.arun"):
        await awaited
    with pytest.raises(TypeError, match="async for"):
        await asyncio.wait_for(awaited, 5)
    assert service.requests == []


async def test_a_plain_loop_over_a_stream_says_what_to_write(agent: Agent, service: FakeAgentService) -> None:
    looped: Any = agent.stream("Hi")
    with pytest.raises(TypeError, match=r"async for .*stream_sync"):
        list(looped)
    assert service.requests == []


async def test_a_stream_is_over_after_its_end(agent: Agent) -> None:
    stream = agent.stream("Hi")
    assert len([chunk async for chunk in stream]) == 4
    assert [chunk async for chunk in stream] == []


async def test_the_timeout_covers_the_whole_call_and_keeps_what_came(agent: Agent, service: FakeAgentService) -> None:
    service.reply = lambda request, context: say_then_wait("some", " text")
    with pytest.raises(StreamTimeoutError) as caught:
        [chunk async for chunk in agent.stream("Hi", timeout=0.3)]
    assert caught.value.partial_response == "some text"
    assert isinstance(caught.value, TimeoutError)


async def test_a_stream_belongs_to_its_loop(agent: Agent, service: FakeAgentService) -> None:
    service.reply = lambda request, context: say_forever()
    stream = agent.stream("Hi")
    await anext(stream)

    async def read_elsewhere() -> None:
        await anext(stream)

    with pytest.raises(RuntimeError, match="another event loop"):
        await asyncio.to_thread(asyncio.run, read_elsewhere())


async def test_a_hundred_streams_share_one_connection(agent: Agent, service: FakeAgentService) -> None:
    replies = await asyncio.gather(*(agent.arun(f"Question {number}") for number in range(100)))
    assert {reply.content for reply in replies} == {"Hello world"}
    assert service.connections() == 1


async def test_a_reader_that_stops_does_not_stop_the_others(agent: Agent, service: FakeAgentService) -> None:
    service.reply = lambda request, context: say_forever("x" * 1000)
    stalled = agent.stream("Hi")
    await anext(stalled)
    service.reply = lambda request, context: say("quick")
    assert (await agent.arun("Hi")).content == "quick"


async def test_a_long_reply_arrives_whole(agent: Agent, service: FakeAgentService) -> None:
    async def long(request: object, context: object) -> Chunks:
        yield first("x" * 64_000)
        for number in range(2, 101):
            yield agent_pb2.StreamChunk(content="x" * 64_000, sequence=number)
        yield final()

    service.reply = long
    assert len((await agent.arun("Hi")).content) == 6_400_000


async def test_leaving_the_agents_block_ends_its_streams_and_it_can_be_used_again(
    service: FakeAgentService,
) -> None:
    service.reply = lambda request, context: say_forever()
    async with Agent(target=service.target) as agent:
        stream = agent.stream("Hi")
        await anext(stream)
    await asyncio.to_thread(service.wait_for_leaving)
    service.reply = lambda request, context: say("again")
    assert str(await agent.arun("Hi")) == "again"
