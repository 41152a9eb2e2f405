"""Chunks that pass from a source to an outlet in one callback, and what a full outlet does."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from headwater_server.domain.chunks import Chunk, Delta, FinalChunk, Finish, FinishReason
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.streaming.answerer import Answerer, Timeouts
from headwater_server.streaming.live import LiveStream
from headwater_server.streaming.push import Push, Reading
from headwater_server.streaming.running_streams import RunningStreams
from tests.support.services.running import running
from tests.unit.streaming.test_receiver import PushedSource

END = Finish(FinishReason.STOP)


class FakeOutlet:
    """Takes chunks while it has room."""

    def __init__(self, room: int = 1000) -> None:
        self.room = room
        self.taken: list[Chunk] = []
        self.fault: Exception | None = None

    def give(self, chunk: Chunk) -> bool:
        if self.fault is not None:
            raise self.fault
        if not self.room:
            return False
        self.room -= 1
        self.taken.append(chunk)
        return True

    @property
    def words(self) -> list[str]:
        return [chunk.delta.content for chunk in self.taken]


class GivingPush(Push):
    """Gives chunks to such an outlet."""

    def __init__(self, stream: Reading, give: Callable[[Chunk], bool]) -> None:
        super().__init__(stream)
        self._give = give

    def _gives(self, chunk: Chunk) -> bool:
        try:
            return self._give(chunk) or self._keep(chunk)
        except HeadwaterError as error:
            return self._keep(chunk, error)


class Pushed:
    """A stream that is pushed to an outlet."""

    def __init__(self, stream: LiveStream, source: PushedSource, outlet: FakeOutlet) -> None:
        self.stream, self.source, self.outlet = stream, source, outlet
        self.push = GivingPush(stream, outlet.give)
        self.task = asyncio.create_task(self.push.run())

    def arrived(self, *words: str) -> bool:
        return self.source.receiver.arrived([Delta(word) for word in words])


@asynccontextmanager
async def pushed(room: int = 1000, seconds: float = 120.0) -> AsyncIterator[Pushed]:
    """A stream of which the first chunk was taken, and that is pushed to an outlet with so much room."""
    source, outlet = PushedSource(Delta("first")), FakeOutlet(room)
    answerer = Answerer("fake", model="m", timeouts=Timeouts(next_chunk_seconds=seconds))
    async with running(RunningStreams(), answerer, source) as stream:
        await stream.next()
        made = Pushed(stream, source, outlet)
        await asyncio.sleep(0)
        yield made
        made.task.cancel()
        await asyncio.wait([made.task])


async def test_a_chunk_passes_in_the_callback_in_which_it_comes() -> None:
    async with pushed() as made:
        assert made.arrived("a") is True
        assert made.outlet.words == ["a"]
        assert made.arrived("b", "c") is True
        assert (made.outlet.words, made.outlet.taken[-1].sequence) == (["a", "bc"], 4)
        assert not made.task.done()


async def test_the_end_wakes_the_task() -> None:
    async with pushed() as made:
        assert made.source.receiver.arrived([Delta("a"), END]) is True
        final = await made.task
        assert isinstance(final, FinalChunk)
        assert (made.outlet.words, final.sequence) == (["a"], 3)


async def test_what_a_full_outlet_refuses_comes_first_and_the_rest_merged() -> None:
    async with pushed(room=1) as made:
        assert made.arrived("a") is True
        resumed = made.source.resumed
        for word in "bcde":
            assert made.arrived(word) is False
        made.push.writable()
        assert (made.outlet.words, made.source.resumed) == (["a"], resumed)
        made.outlet.room = 1000
        made.push.writable()
        assert made.outlet.words == ["a", "b", "cde"]
        assert made.source.resumed == resumed + 1
        made.push.writable()
        assert made.outlet.words == ["a", "b", "cde"]


async def test_the_end_waits_for_what_a_full_outlet_lacks() -> None:
    async with pushed(room=0) as made:
        made.source.receiver.arrived([Delta("a"), END])
        made.source.receiver.ended(None)
        await asyncio.sleep(0)
        assert not made.task.done()
        made.outlet.room = 9
        made.push.writable()
        assert isinstance(await made.task, FinalChunk)
        assert made.outlet.words == ["a"]


@pytest.mark.parametrize("how", ["interrupted", "failed", "cut"])
async def test_an_error_ends_it_after_what_came_before(how: str) -> None:
    async with pushed() as made:
        made.arrived("a")
        if how == "interrupted":
            made.stream.interrupt(HeadwaterError(Reason.STREAM_CANCELLED, "enough"))
        else:
            failure = HeadwaterError(Reason.PROVIDER_UNAVAILABLE, "gone")
            made.source.receiver.ended(failure if how == "failed" else None)
        with pytest.raises(HeadwaterError) as caught:
            await made.task
        expected = Reason.STREAM_CANCELLED if how == "interrupted" else Reason.STREAM_INTERRUPTED
        assert caught.value.reason is expected
        assert made.outlet.words == ["a"]
        assert made.arrived("late") is True


async def test_a_chunk_that_cannot_be_given_ends_the_call() -> None:
    async with pushed() as made:
        made.outlet.fault = HeadwaterError(Reason.REPLY_TOO_LARGE, "too large")
        assert made.arrived("a") is False
        with pytest.raises(HeadwaterError, match="too large"):
            await made.task
        made.outlet.fault = None
        made.push.writable()
        assert made.outlet.words == []


async def test_a_silent_provider_is_a_timeout_and_a_full_outlet_is_none() -> None:
    async with pushed(room=0, seconds=0.05) as made:
        made.arrived("a")
        await asyncio.sleep(0.2)
        assert not made.task.done()
        made.outlet.room = 9
        made.push.writable()
        with pytest.raises(HeadwaterError) as caught:
            await made.task
        assert caught.value.reason is Reason.STREAM_TIMEOUT


async def test_a_call_that_ended_with_an_error_is_freed_at_once() -> None:
    gc.collect()
    gc.disable()
    try:
        async with pushed() as made:
            made.source.receiver.ended(HeadwaterError(Reason.PROVIDER_UNAVAILABLE, "gone"))
            await asyncio.wait([made.task])
            assert made.task.exception() is not None
            gone = weakref.ref(made.push)
            del made.push, made.task
            made.task = asyncio.create_task(asyncio.sleep(0))
        await asyncio.sleep(0)
        assert gone() is None
    finally:
        gc.enable()
