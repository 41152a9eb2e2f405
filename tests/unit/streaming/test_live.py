"""A live stream: exactly one end, whatever the provider, the caller or the clock does."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref
from collections.abc import AsyncIterator, Callable
from functools import partial

import pytest

from headwater_server.domain.chunks import (
    Chunk,
    Delta,
    FinalChunk,
    Finish,
    FinishReason,
    ProviderEvent,
    ToolCallDelta,
    Usage,
)
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.messages import Message, Opaque, ProviderData, Role, Text, ToolCall
from headwater_server.streaming import live
from headwater_server.streaming.answerer import Answerer, Timeouts
from headwater_server.streaming.live import LiveStream
from headwater_server.streaming.running_streams import RunningStreams
from headwater_server.streaming.source import ReadSource
from headwater_server.streaming.terms import Continuation, StreamTerms
from tests.support.services.running import running

Script = Callable[[], AsyncIterator[ProviderEvent | list[ProviderEvent]]]


class FakeSource(ReadSource):
    """A provider's reply that runs a script, in which a list is what comes together; knows whether it was closed."""

    request_id = "req_1"
    heard = 0.0

    def __init__(self, script: Script) -> None:
        self._events = script()
        self.waited_for = asyncio.Event()
        self.freed = asyncio.Event()

    @property
    def closed(self) -> bool:
        return self.freed.is_set()

    async def read(self) -> list[ProviderEvent]:
        self.waited_for.set()
        event = await anext(self._events, None)
        return event if isinstance(event, list) else [] if event is None else [event]

    async def aclose(self) -> None:
        self.freed.set()
        await super().aclose()
        await self._events.aclose()  # type: ignore[attr-defined]


async def read(stream: LiveStream) -> tuple[str, FinalChunk]:
    text = ""
    while isinstance(chunk := await stream.next(), Chunk):
        text += chunk.delta.content
    return text, chunk


async def read_error(stream: LiveStream) -> tuple[str, HeadwaterError]:
    text = ""
    with pytest.raises(HeadwaterError) as caught:
        while isinstance(chunk := await stream.next(), Chunk):
            text += chunk.delta.content
    return text, caught.value


def fake(fingerprint: str = "", model: str = "m", next_chunk_seconds: float = 120) -> Answerer:
    return Answerer("fake", fingerprint, model=model, timeouts=Timeouts(next_chunk_seconds=next_chunk_seconds))


def opened(script: Script, next_chunk_seconds: float = 120):
    source = FakeSource(script)
    return source, running(RunningStreams(), fake(next_chunk_seconds=next_chunk_seconds), source)


async def two_words() -> AsyncIterator[ProviderEvent]:
    yield Delta(content="Hello")
    yield Delta(content=" there")
    yield Finish(FinishReason.STOP, "stop", usage=Usage(output_tokens=2))


async def test_a_whole_reply_ends_with_one_final_chunk():
    registry, source = RunningStreams(), FakeSource(two_words)
    async with running(registry, fake(), source) as stream:
        text, final = await read(stream)
    await registry.close()
    assert text == "Hello there"
    assert final.finish.provider_reason == "stop"
    assert final.sequence == 3
    assert final.stats.chunk_count == 2
    assert final.stats.duration_seconds >= final.stats.time_to_first_token_seconds >= 0
    assert final.provider_request_id == "req_1"
    assert source.closed


async def test_a_stream_that_is_closed_is_not_ended_from_outside_a_second_time():
    end = HeadwaterError(Reason.STREAM_CANCELLED, "ended")
    _, opening = opened(two_words)
    async with opening as stream:
        await stream.next()
        assert stream.interrupt(end)
        assert not stream.interrupt(end)
    assert not stream.interrupt(end)


async def test_tool_calls_are_put_together_from_their_pieces():
    async def calls() -> AsyncIterator[ProviderEvent]:
        yield Delta(tool_calls=[ToolCallDelta(0, "a", "first", '{"x"')])
        yield Delta(tool_calls=[ToolCallDelta(1, "b", "second")])
        yield Delta(tool_calls=[ToolCallDelta(0, arguments=": 1}")])
        yield Finish(FinishReason.TOOL_CALLS)

    _, opening = opened(calls)
    async with opening as stream:
        while isinstance(final := await stream.next(), Chunk):
            pass
    assert final.tool_calls == [ToolCall("a", "first", '{"x": 1}'), ToolCall("b", "second", "{}")]


async def asks_for_a_call() -> AsyncIterator[ProviderEvent]:
    yield Delta(content="Let me see.")
    yield Delta(provider_data="{}")
    yield Delta(tool_calls=[ToolCallDelta(0, "a", "f", "{}")])
    yield Finish(FinishReason.TOOL_CALLS)


async def last_of(script: Script, terms: StreamTerms, fingerprint: str = "") -> tuple[list[Chunk], FinalChunk]:
    async with running(RunningStreams(), fake(fingerprint), FakeSource(script), terms=terms) as stream:
        chunks: list[Chunk] = []
        while isinstance(chunk := await stream.next(), Chunk):
            chunks.append(chunk)
        return chunks, chunk


async def test_a_reply_that_is_collected_ends_with_its_message():
    chunks, final = await last_of(asks_for_a_call, StreamTerms(collects=True), "a1")
    data = ProviderData("fake", "a1", "{}")
    parts = (Text("Let me see."), Opaque(data), ToolCall("a", "f", "{}"))
    assert final.message == Message(Role.ASSISTANT, parts)
    assert [chunk.sequence for chunk in chunks] == [1, 2]
    assert final.sequence == 3


async def test_a_call_that_nobody_allowed_is_in_the_message_all_the_same():
    _, final = await last_of(asks_for_a_call, StreamTerms())
    assert final.message == Message(Role.ASSISTANT, (ToolCall("a", "f", "{}"),))


async def test_text_that_nobody_wants_whole_is_not_collected():
    _, final = await last_of(two_words, StreamTerms())
    assert final.message is None


async def four_million_characters(end: FinishReason) -> AsyncIterator[ProviderEvent]:
    for _ in range(16):
        yield Delta(content="x" * 256 * 1024)
    if end is FinishReason.TOOL_CALLS:
        yield Delta(tool_calls=[ToolCallDelta(0, "a", "f", "{}")])
    yield Finish(end)


async def test_a_long_text_is_streamed_though_it_fits_into_no_message():
    script = partial(four_million_characters, FinishReason.STOP)
    chunks, final = await last_of(script, StreamTerms(collects=True))
    assert sum(len(chunk.delta.content) for chunk in chunks) == 4 * 1024 * 1024
    assert final.message is None


async def test_a_long_text_that_ends_in_calls_is_too_large_after_all_of_it_has_come():
    source = FakeSource(partial(four_million_characters, FinishReason.TOOL_CALLS))
    async with running(RunningStreams(), fake(), source, terms=StreamTerms(collects=True)) as stream:
        text, error = await read_error(stream)
    assert len(text) == 4 * 1024 * 1024
    assert error.reason is Reason.REPLY_TOO_LARGE


async def test_a_stream_has_its_callers_labels():
    terms = StreamTerms(labels={"team": "red"})
    async with running(RunningStreams(), fake(), FakeSource(two_words), terms=terms) as stream:
        assert stream.labels == {"team": "red"}


async def test_a_reply_without_its_finish_is_never_a_normal_stop():
    async def cut() -> AsyncIterator[ProviderEvent]:
        yield Delta(content="Six crates")

    _, opening = opened(cut)
    async with opening as stream:
        text, error = await read_error(stream)
    assert text == "Six crates"
    assert error.reason is Reason.STREAM_INTERRUPTED
    assert error.metadata["cause"] == "PROVIDER_UNAVAILABLE"
    assert error.metadata["provider"] == "fake"
    assert error.metadata["provider_request_id"] == "req_1"


async def test_an_error_before_the_first_delta_keeps_its_reason():
    async def refused() -> AsyncIterator[ProviderEvent]:
        raise HeadwaterError(Reason.PROVIDER_RATE_LIMITED, "slow down", retry_after_seconds=2)
        yield Delta()

    _, opening = opened(refused)
    async with opening as stream:
        _, error = await read_error(stream)
    assert error.reason is Reason.PROVIDER_RATE_LIMITED
    assert error.retry_after_seconds == 2


async def test_a_fault_of_ours_is_internal_and_keeps_its_cause():
    async def faulty() -> AsyncIterator[ProviderEvent]:
        raise KeyError("oops")
        yield Delta()

    _, opening = opened(faulty)
    async with opening as stream:
        _, error = await read_error(stream)
    assert error.reason is Reason.INTERNAL
    assert isinstance(error.__cause__, KeyError)


async def silent_from_the_start() -> AsyncIterator[ProviderEvent]:
    await asyncio.Event().wait()
    yield Delta()


async def three_at_once_then_silent() -> AsyncIterator[list[ProviderEvent]]:
    yield [Delta(thinking="Hm"), Delta(content="the"), Delta(content="re")]
    await asyncio.Event().wait()
    yield []


async def silent_after_a_word() -> AsyncIterator[ProviderEvent]:
    yield Delta(content="Well")
    await asyncio.Event().wait()


async def test_a_silent_provider_is_a_timeout():
    source, opening = opened(silent_after_a_word, 0.02)
    async with opening as stream:
        _, error = await read_error(stream)
    assert error.reason is Reason.STREAM_TIMEOUT
    assert "no next chunk within 0.02 seconds" in error.message
    assert source.closed


async def test_a_slow_reader_is_not_taken_for_a_silent_provider():
    async def plenty() -> AsyncIterator[ProviderEvent]:
        for _ in range(40):
            yield Delta(content="x" * 10_000)
        yield Finish(FinishReason.STOP)

    _, opening = opened(plenty, 0.05)
    async with opening as stream:
        await asyncio.sleep(0.2)
        text, _ = await read(stream)
    assert len(text) == 400_000


async def test_leaving_the_block_closes_the_provider():
    source, opening = opened(silent_after_a_word)
    async with opening as stream:
        await stream.next()
    assert source.closed


async def test_interrupting_gives_the_reader_what_came_and_then_the_error():
    source, opening = opened(three_at_once_then_silent)
    async with opening as stream:
        first = await stream.next()
        stream.interrupt(HeadwaterError(Reason.STREAM_CANCELLED, "enough"))
        rest, error = await read_error(stream)
    assert isinstance(first, Chunk)
    assert rest == "there"
    assert error.reason is Reason.STREAM_CANCELLED
    assert source.closed


@pytest.mark.parametrize(("reply", "before"), [(silent_after_a_word, "Well"), (silent_from_the_start, "")])
async def test_interrupting_a_reader_that_waits_ends_its_wait_and_leaves_its_task_uncancelled(reply, before):
    source, opening = opened(reply)
    async with opening as stream:
        reader = asyncio.create_task(read_error(stream))
        await source.waited_for.wait()
        stream.interrupt(HeadwaterError(Reason.STREAM_CANCELLED, "enough"))
        text, error = await reader
    assert text == before
    assert error.reason is Reason.STREAM_CANCELLED
    assert reader.cancelling() == 0


async def test_a_reader_that_is_cancelled_while_its_stream_is_interrupted_stays_cancelled():
    source, opening = opened(silent_from_the_start)
    async with opening as stream:
        reader = asyncio.create_task(stream.next())
        await source.waited_for.wait()
        stream.interrupt(HeadwaterError(Reason.STREAM_CANCELLED, "enough"))
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        assert reader.cancelling() == 1
    assert source.closed


async def test_interrupting_while_the_caller_is_busy_frees_the_provider_at_once():
    source, opening = opened(silent_after_a_word)
    async with opening as stream:
        await stream.next()
        stream.interrupt(HeadwaterError(Reason.STREAM_CANCELLED, "enough"))
        await source.freed.wait()
        assert (await read_error(stream))[1].reason is Reason.STREAM_CANCELLED


async def test_a_reader_that_is_busy_with_chunks_hears_of_a_cut_although_the_reply_is_whole():
    async def short() -> AsyncIterator[ProviderEvent | list[ProviderEvent]]:
        yield [Delta("a")]
        yield [Delta("b"), Finish(FinishReason.STOP)]

    heard: list[HeadwaterError] = []
    _, opening = opened(short)
    async with opening as stream:
        await stream.next()
        await stream.next()
        stream.on_cut = heard.append
        assert not stream.interrupt(HeadwaterError(Reason.STREAM_CANCELLED, "enough"))
        assert [(error.reason, error.metadata["stream_id"]) for error in heard] == [
            (Reason.STREAM_CANCELLED, stream.id)
        ]
        assert isinstance(await stream.next(), FinalChunk)


async def test_the_rest_of_an_answer_is_read_without_keeping_the_caller_waiting():
    last_bytes = asyncio.Event()
    read_to_the_end = asyncio.Event()

    async def trailing() -> AsyncIterator[ProviderEvent]:
        yield Finish(FinishReason.STOP)
        await last_bytes.wait()
        read_to_the_end.set()

    registry = RunningStreams()
    source = FakeSource(trailing)
    async with running(registry, fake(), source) as stream:
        await read(stream)
    assert not source.closed
    last_bytes.set()
    await registry.close()
    assert read_to_the_end.is_set()
    assert source.closed


@pytest.mark.parametrize(
    ("script", "words", "reason"),
    [(silent_from_the_start, 0, Reason.SERVER_DRAINING), (silent_after_a_word, 1, Reason.STREAM_INTERRUPTED)],
)
async def test_a_draining_registry_takes_no_new_stream_and_ends_the_last(script, words, reason):
    registry = RunningStreams()
    async with running(registry, fake(), FakeSource(script)) as stream:
        for _ in range(words):
            await stream.next()
        await registry.drain(0.01)
        _, error = await read_error(stream)
        late = FakeSource(two_words)
        with pytest.raises(HeadwaterError) as refused:
            async with running(registry, fake(), late):
                pass
    assert error.reason is reason
    assert refused.value.reason is Reason.SERVER_DRAINING
    assert refused.value.retry_after_seconds is not None
    assert late.closed


async def test_running_streams_are_listed_in_pages_and_cancelled_by_id():
    registry = RunningStreams()
    opening = [running(registry, fake(model=f"m{i}"), FakeSource(silent_from_the_start)) for i in range(3)]
    streams = [await o.__aenter__() for o in opening]
    first, after = registry.page(0, 2)
    rest, end = registry.page(after, 2)
    assert [s.answerer.model for s in first + rest] == ["m0", "m1", "m2"]
    assert end == 0
    registry.cancel_stream(streams[1].id)
    assert (await read_error(streams[1]))[1].reason is Reason.STREAM_CANCELLED
    for o in opening:
        await o.__aexit__(None, None, None)
    assert len(registry) == 0
    with pytest.raises(HeadwaterError) as unknown:
        registry.cancel_stream(streams[1].id)
    assert unknown.value.reason is Reason.STREAM_NOT_FOUND


@pytest.mark.parametrize("reads", ["to its end", "to its error", "not at all"])
async def test_a_stream_that_has_ended_is_freed_at_once(reads):
    """Not when the garbage is next collected: it may hold a prompt of 32 MiB and a reply."""

    async def failing() -> AsyncIterator[ProviderEvent]:
        yield Delta(content="a")
        raise HeadwaterError(Reason.PROVIDER_UNAVAILABLE, "gone")

    async def run() -> weakref.ref[LiveStream]:
        scripts = {"to its end": two_words, "to its error": failing, "not at all": silent_from_the_start}
        _, opening = opened(scripts[reads])
        async with opening as stream:
            with contextlib.suppress(HeadwaterError):
                while reads != "not at all" and isinstance(await stream.next(), Chunk):
                    pass
            return weakref.ref(stream)

    gc.collect()
    gc.disable()
    try:
        freed = await run()
        async with asyncio.timeout(10):
            while freed() is not None:  # the rest of the answer is read
                await asyncio.sleep(0)
    finally:
        gc.enable()


async def test_tool_calls_without_end_are_refused_before_they_fill_the_memory():
    async def endless() -> AsyncIterator[ProviderEvent]:
        for number in range(1_000_000):
            yield Delta(tool_calls=[ToolCallDelta(0, arguments="x" * 10_000, id=str(number))])
            await asyncio.sleep(0)

    _, opening = opened(endless)
    async with opening as stream:
        _, error = await read_error(stream)
        assert stream.chunk_count < 500
    assert error.reason is Reason.REPLY_TOO_LARGE


@pytest.mark.parametrize(
    ("usage", "thinking", "expected"),
    [
        (Usage(output_tokens=11), "", 10.0),
        (Usage(output_tokens=1011, reasoning_tokens=1000), "", 10.0),
        (Usage(output_tokens=11, reasoning_tokens=5), "hm", 10.0),
        (Usage(output_tokens=1), "", None),
        (Usage(input_tokens=3), "", None),
        (None, "", None),
    ],
)
async def test_the_pace_counts_what_was_written_while_it_was_written(monkeypatch, usage, thinking, expected):
    now = 100.0
    monkeypatch.setattr(live.time, "monotonic", lambda: now)

    async def a_second_long() -> AsyncIterator[ProviderEvent]:
        nonlocal now
        now += 5  # until the first delta
        yield Delta(content="a", thinking=thinking)
        now += 1
        yield Delta(content="b")
        yield Finish(FinishReason.STOP, usage=usage)

    _, opening = opened(a_second_long)
    async with opening as stream:
        _, final = await read(stream)
    assert final.stats.tokens_per_second == expected


async def test_a_reply_that_came_at_once_has_no_pace():
    _, opening = opened(two_words)
    async with opening as stream:
        _, final = await read(stream)
    assert final.stats.tokens_per_second is None


async def test_a_later_round_goes_on_counting_under_the_first_id():
    registry = RunningStreams()
    before = Continuation("str_0_" + "a" * 22, 41)
    async with running(registry, fake(), FakeSource(two_words), before) as stream:
        assert stream.id == before.stream_id
        assert registry.page(0, 10) == ([stream], 0)
        first = await stream.next()
        _, final = await read(stream)
        assert stream.chunk_count == 2
    assert first.sequence in (42, 43)  # two deltas may have been merged
    assert final.sequence == 44
    assert final.stats.chunk_count == 2
    assert registry.page(0, 10) == ([], 0)


async def test_a_round_is_refused_while_the_one_before_runs_and_its_source_is_closed():
    registry = RunningStreams()
    before = Continuation("str_0_" + "a" * 22, 1)
    second = FakeSource(two_words)
    async with running(registry, fake(), FakeSource(two_words), before) as stream:
        with pytest.raises(HeadwaterError) as caught:
            await running(registry, fake(), second, before).__aenter__()
        assert caught.value.reason is Reason.INVALID_REQUEST
        assert second.closed
        assert registry.page(0, 10) == ([stream], 0)
    async with running(registry, fake(), FakeSource(two_words), before) as stream:
        assert (await read(stream))[0] == "Hello there"


async def test_a_later_round_that_fails_before_its_first_delta_is_not_cut_but_failed():
    async def fails() -> AsyncIterator[ProviderEvent]:
        raise HeadwaterError(Reason.PROVIDER_RATE_LIMITED, "slow down")
        yield Delta()

    before = Continuation("str_0_" + "a" * 22, 5)
    async with running(RunningStreams(), fake(), FakeSource(fails), before) as stream:
        _, error = await read_error(stream)
    assert error.reason is Reason.PROVIDER_RATE_LIMITED
