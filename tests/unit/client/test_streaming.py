"""Chunks, collected replies, mock streams, and the manager that bounds and interrupts."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import inspect
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from headwater.exceptions import ValidationError
from headwater.streaming import (
    StreamChunk,
    StreamingManager,
    StreamingResponse,
    StreamInterruptedError,
    StreamTimeoutError,
    collect_stream,
    create_mock_stream,
    stream_to_string,
)


class FakeStream:
    """A stream that says some words and then waits; knows its id and whether it was closed."""

    def __init__(self, *words: str, stream_id: str | None = None) -> None:
        self.stream_id = stream_id
        self.closed = False
        self._words = list(words)

    def __aiter__(self) -> FakeStream:
        return self

    async def __anext__(self) -> StreamChunk:
        if not self._words:
            await asyncio.Event().wait()
        return StreamChunk(self._words.pop(0))

    async def aclose(self) -> None:
        self.closed = True


def test_the_shape_of_a_chunk() -> None:
    before = time.time()
    chunk = StreamChunk("Hi")
    assert (chunk.content, chunk.token, chunk.metadata, chunk.is_final) == ("Hi", None, {}, False)
    assert before <= chunk.timestamp <= time.time()
    assert str(chunk) == "Hi"
    fields = {"content": "Hi", "token": "Hi", "metadata": {"a": 1}, "is_final": True, "timestamp": 1.5}
    assert dataclasses.asdict(StreamChunk("Hi", "Hi", {"a": 1}, True, 1.5)) == fields


def test_an_empty_response() -> None:
    response = StreamingResponse()
    assert (response.chunks, response.complete_text, response.metadata) == ([], "", {})
    assert (response.end_time, response.total_tokens, response.stream_id) == (None, None, None)
    assert (response.duration, response.chunk_count) == (None, 0)
    assert response.start_time <= time.time()


def test_a_response_is_put_together_from_its_chunks() -> None:
    response = StreamingResponse()
    response.add_chunk(StreamChunk("a", metadata={"stream_id": "w0-1", "model": "m", "sequence": 1}))
    response.add_chunk(StreamChunk("b", metadata={"event_type": "delta"}))
    assert response.duration is None
    usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    response.add_chunk(StreamChunk("", metadata={"usage": usage, "sequence": 3}, is_final=True))
    assert response.complete_text == str(response) == "ab"
    assert response.chunk_count == 3
    assert response.metadata == {"stream_id": "w0-1", "model": "m", "usage": usage, "sequence": 3}
    assert (response.stream_id, response.total_tokens) == ("w0-1", 3)
    assert response.end_time is not None
    assert response.duration == response.end_time - response.start_time


def test_tokens_that_nobody_counted_are_none() -> None:
    response = StreamingResponse()
    response.add_chunk(StreamChunk("a", is_final=True))
    assert response.total_tokens is None


def test_the_parameters_of_a_mock_stream() -> None:
    parameters = inspect.signature(create_mock_stream).parameters
    assert {name: parameter.default for name, parameter in parameters.items()} == {
        "text": inspect.Parameter.empty,
        "chunk_size": 10,
        "delay": 0.1,
    }


async def test_a_mock_stream_says_its_text_and_ends_with_a_final_chunk() -> None:
    chunks = [chunk async for chunk in create_mock_stream("Hello world", chunk_size=4, delay=0)]
    assert [(chunk.content, chunk.is_final) for chunk in chunks] == [("Hell", False), ("o wo", False), ("rld", True)]


async def test_a_mock_stream_of_nothing_is_one_final_chunk() -> None:
    assert [chunk.is_final async for chunk in create_mock_stream("", delay=0)] == [True]


@pytest.mark.parametrize(("chunk_size", "delay"), [(0, 0.0), (1, -1.0), (1, float("nan"))])
def test_a_mock_stream_with_bad_numbers_is_refused(chunk_size: int, delay: float) -> None:
    with pytest.raises(ValueError, match="must"):
        create_mock_stream("Hi", chunk_size, delay)


async def test_a_stream_is_collected() -> None:
    response = await collect_stream(create_mock_stream("Hello world", delay=0))
    assert response.complete_text == "Hello world"
    assert response.duration is not None
    assert await stream_to_string(create_mock_stream("Hello world", delay=0)) == "Hello world"


async def test_a_managed_stream_within_its_time_is_the_stream_itself() -> None:
    manager = StreamingManager(timeout=30)
    stream = manager.stream_with_timeout(create_mock_stream("Hello world", delay=0))
    assert await stream_to_string(stream) == "Hello world"
    assert manager.active_streams == []


async def test_the_timeout_is_for_the_whole_stream_from_the_first_anext() -> None:
    source = create_mock_stream("x" * 1000, chunk_size=1, delay=0.02)
    stream = StreamingManager(timeout=0.15).stream_with_timeout(source)
    await asyncio.sleep(0.2)  # time before the first anext does not count
    text = ""
    with pytest.raises(StreamTimeoutError) as caught:
        async for chunk in stream:
            text += chunk.content
    assert text
    assert caught.value.partial_response == text


async def test_time_that_the_loop_body_takes_counts() -> None:
    async def ready() -> AsyncIterator[StreamChunk]:
        while True:
            yield StreamChunk("x")

    stream = StreamingManager(timeout=0.05).stream_with_timeout(ready())
    await anext(stream)
    await asyncio.sleep(0.1)
    with pytest.raises(StreamTimeoutError):
        await anext(stream)


async def test_a_timeout_closes_the_stream_beneath() -> None:
    source = FakeStream("some")
    with pytest.raises(StreamTimeoutError):
        [chunk async for chunk in StreamingManager(timeout=0.02).stream_with_timeout(source)]
    assert source.closed


async def test_a_timeout_error_of_the_stream_itself_is_passed_on() -> None:
    async def late() -> AsyncIterator[StreamChunk]:
        raise TimeoutError("the provider's")
        yield

    with pytest.raises(TimeoutError, match="the provider's") as caught:
        [chunk async for chunk in StreamingManager(timeout=30).stream_with_timeout(late())]
    assert not isinstance(caught.value, StreamTimeoutError)


@pytest.mark.parametrize("name", ["w0-1", "local-1"])
async def test_an_interruption_ends_the_loop_with_the_partial_text(name: str) -> None:
    manager = StreamingManager()
    source = FakeStream("some", " text", stream_id="w0-1")
    stream = manager.stream_with_timeout(source)
    assert manager.active_streams == ["w0-1"]
    asyncio.get_running_loop().call_later(0.02, manager.interrupt_stream, name)
    with pytest.raises(StreamInterruptedError) as caught:
        [chunk async for chunk in stream]
    assert not isinstance(caught.value, StreamTimeoutError)
    assert caught.value.partial_response == "some text"
    assert source.closed
    assert manager.active_streams == []
    assert not manager.interrupt_stream(name)


async def test_a_stream_without_an_id_has_one_of_the_manager() -> None:
    manager = StreamingManager()
    first = manager.stream_with_timeout(create_mock_stream("Hello"))
    second = manager.stream_with_timeout(create_mock_stream("Hello"))
    assert manager.active_streams == [first.stream_id, second.stream_id] == ["local-1", "local-2"]


async def test_an_interruption_between_two_chunks_takes_hold_at_the_next() -> None:
    manager = StreamingManager()
    stream = manager.stream_with_timeout(FakeStream("a", "b", "c"))
    await anext(stream)
    assert manager.interrupt_stream(stream.stream_id)
    with pytest.raises(StreamInterruptedError):
        await anext(stream)


async def test_an_interruption_may_come_from_another_thread() -> None:
    manager = StreamingManager()
    stream = manager.stream_with_timeout(FakeStream("a"))
    await anext(stream)
    thread = threading.Thread(target=manager.interrupt_stream, args=(stream.stream_id,))
    asyncio.get_running_loop().call_soon(thread.start)
    with pytest.raises(StreamInterruptedError):
        await anext(stream)
    await asyncio.to_thread(thread.join)


async def test_an_unknown_id_interrupts_nothing() -> None:
    assert StreamingManager().interrupt_stream("w0-9") is False


async def test_leaving_the_managers_block_closes_its_streams() -> None:
    source = FakeStream("a")
    async with StreamingManager(timeout=30) as manager:
        stream = manager.stream_with_timeout(source)
        await anext(stream)
    assert source.closed
    assert [chunk async for chunk in stream] == []


async def test_a_dropped_stream_is_no_longer_active() -> None:
    manager = StreamingManager()
    manager.stream_with_timeout(FakeStream())
    gc.collect()
    assert manager.active_streams == []


async def test_cancelling_the_reader_is_not_an_interruption() -> None:
    stream = StreamingManager(timeout=30).stream_with_timeout(FakeStream())
    reader = asyncio.create_task(anext(stream))
    await asyncio.sleep(0)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_a_timeout_that_is_none_is_refused(timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout"):
        StreamingManager(timeout=timeout)


@pytest.mark.parametrize("timeout", ["3", True, 0, -1, float("nan")])
def test_a_manager_takes_seconds_only(timeout: Any) -> None:
    with pytest.raises(ValidationError, match=r"^timeout: "):
        StreamingManager(timeout=timeout)


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("text", {"text": 3}),
        ("chunk_size", {"chunk_size": "a"}),
        ("chunk_size", {"chunk_size": 1.5}),
        ("chunk_size", {"chunk_size": 0}),
        ("delay", {"delay": "0"}),
        ("delay", {"delay": -1}),
        ("delay", {"delay": float("nan")}),
    ],
)
def test_a_mock_stream_takes_a_text_and_numbers_only(field: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=f"^{field}: "):
        create_mock_stream(**({"text": "x"} | arguments))


async def test_a_managed_stream_whose_wait_was_cancelled_never_looks_finished() -> None:
    stream = StreamingManager().stream_with_timeout(FakeStream("a"))
    await anext(stream)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(stream), 0.01)
    with pytest.raises(StreamInterruptedError, match="was cancelled") as caught:
        await anext(stream)
    assert caught.value.partial_response == "a"


async def test_a_mock_stream_continues_after_a_wait_that_was_cancelled() -> None:
    stream = create_mock_stream("ab", chunk_size=1, delay=0.05)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(stream), 0.001)
    assert await stream_to_string(stream) == "ab"
