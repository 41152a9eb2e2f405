"""A live stream as the receiver of a source that hands events over as they come, and sources that a task reads."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from headwater_server.domain.chunks import Chunk, Delta, FinalChunk, Finish, FinishReason, ProviderEvent
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.streaming.answerer import Answerer
from headwater_server.streaming.live import LiveStream
from headwater_server.streaming.running_streams import RunningStreams
from headwater_server.streaming.source import ReadSource, Receiver
from tests.support.services.running import running

END = Finish(FinishReason.STOP)


class PushedSource:
    """A source whose events a test hands over."""

    request_id = ""
    heard = 0.0

    def __init__(self, *first: ProviderEvent) -> None:
        self.receiver: Receiver
        self.resumed = 0
        self.closed = False
        self._first = first

    async def read(self) -> Sequence[ProviderEvent]:
        return self._first

    def follow(self, receiver: Receiver) -> None:
        self.receiver = receiver

    def resume(self) -> None:
        self.resumed += 1

    async def aclose(self) -> None:
        self.closed = True


def opened(source: PushedSource | ReadSource, streams: RunningStreams | None = None):
    return running(RunningStreams() if streams is None else streams, Answerer("fake", model="m"), source)


def text(chunk: Chunk | FinalChunk) -> str:
    assert isinstance(chunk, Chunk)
    return chunk.delta.content


async def waiting(stream: LiveStream) -> asyncio.Task[Chunk | FinalChunk]:
    """A reader that waits for the next chunk."""
    reader = asyncio.create_task(stream.next())
    async with asyncio.timeout(10):
        while stream._waiter is None:
            await asyncio.sleep(0)
    return reader


async def test_what_comes_wakes_the_reader_that_waits():
    source = PushedSource(Delta("a"))
    async with opened(source) as stream:
        assert text(await stream.next()) == "a"
        reader = await waiting(stream)
        assert source.receiver.arrived([Delta("b")]) is False
        chunk = await reader
        assert (text(chunk), chunk.sequence, source.resumed) == ("b", 2, 1)


async def test_what_comes_while_the_reader_is_busy_is_one_chunk_and_the_source_goes_on_when_it_was_taken():
    source = PushedSource(Delta("a"))
    async with opened(source) as stream:
        await stream.next()
        for word in "bcd":
            assert source.receiver.arrived([Delta(word)]) is False
        chunk = await stream.next()
        assert isinstance(chunk, Chunk)
        assert (text(chunk), chunk.sequence, chunk.merged, source.resumed) == ("bcd", 4, True, 0)
        await waiting_and_left(stream)
        assert source.resumed == 1


async def waiting_and_left(stream: LiveStream) -> None:
    reader = await waiting(stream)
    reader.cancel()
    await asyncio.wait([reader])


async def test_a_reader_that_leaves_loses_nothing_for_the_next():
    source = PushedSource(Delta("a"))
    async with opened(source) as stream:
        await stream.next()
        reader = await waiting(stream)
        source.receiver.arrived([Delta("b")])
        reader.cancel()
        await asyncio.wait([reader])
        assert text(await stream.next()) == "b"


@pytest.mark.parametrize("fault", [HeadwaterError(Reason.PROVIDER_UNAVAILABLE, "the connection broke"), KeyError("x")])
@pytest.mark.parametrize("waits", [True, False])
async def test_an_error_comes_after_what_came_before_it(fault, waits):
    source = PushedSource(Delta("a"))
    async with opened(source) as stream:
        await stream.next()
        reader = await waiting(stream) if waits else None
        source.receiver.arrived([Delta("b")])
        source.receiver.ended(fault)
        assert text(await (reader or stream.next())) == "b"
        with pytest.raises(HeadwaterError) as caught:
            await stream.next()
        expected = Reason.INTERNAL if isinstance(fault, KeyError) else Reason.STREAM_INTERRUPTED
        assert caught.value.reason is expected
    assert source.closed


async def test_an_end_without_a_finish_is_a_cut():
    source = PushedSource(Delta("a"))
    async with opened(source) as stream:
        await stream.next()
        source.receiver.ended(None)
        with pytest.raises(HeadwaterError, match="broke off before its end"):
            await stream.next()


async def test_what_comes_after_the_finish_or_an_interruption_is_passed_over():
    for interrupts in (True, False):
        source = PushedSource(Delta("a"))
        async with opened(source) as stream:
            await stream.next()
            if interrupts:
                stream.interrupt(HeadwaterError(Reason.STREAM_CANCELLED, "enough"))
            else:
                source.receiver.arrived([END, Delta("late")])
                assert isinstance(await stream.next(), FinalChunk)
            assert source.receiver.arrived([Delta("later")]) is True


async def test_an_answer_that_was_whole_with_its_finish_is_closed_at_once_and_another_when_its_rest_has_come():
    for is_whole in (True, False):
        streams, source = RunningStreams(), PushedSource(Delta("a"), END)
        async with opened(source, streams) as stream:
            await stream.next()
            assert isinstance(await stream.next(), FinalChunk)
            if is_whole:
                source.receiver.ended(None)
        assert source.closed is is_whole
        assert len(streams._finishing) == (0 if is_whole else 1)
        if not is_whole:
            await asyncio.sleep(0)
            source.receiver.arrived([Delta("late")])
            source.receiver.ended(None)
        await streams.close()
        assert source.closed


class Counting(ReadSource):
    """Gives words without end, and counts them."""

    request_id = ""
    heard = 0.0

    def __init__(self) -> None:
        self.given = 0

    async def read(self) -> Sequence[ProviderEvent]:
        self.given += 1
        return [Delta(f"{self.given} ")]


async def test_a_source_that_a_task_reads_is_read_when_its_reader_waits_and_no_further():
    source = Counting()
    async with opened(source) as stream:
        for number in range(1, 10):
            chunk = await stream.next()
            assert (text(chunk), chunk.sequence) == (f"{number} ", number)
            for _ in range(20):
                await asyncio.sleep(0)
            assert source.given == number
