"""Chunks of a resumable stream that pass to all of its readers in the callback in which they come."""

from __future__ import annotations

import asyncio
import random

import pytest

from headwater_server.domain.chunks import Chunk, Delta, FinalChunk, FinishReason
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.streaming.answerer import Timeouts
from headwater_server.streaming.push import Push
from headwater_server.streaming.reader import Reader
from headwater_server.streaming.terms import Continuation
from tests.support.services.resumable import TEXT, WORDS, Provider, Service, in_virtual_time, read
from tests.unit.streaming.test_push import END, FakeOutlet, GivingPush
from tests.unit.streaming.test_receiver import PushedSource


class Caller(FakeOutlet):
    """A call of a resumable stream, whose chunks are pushed."""

    task: asyncio.Task[FinalChunk]
    push: Push

    async def follow(self, reader: Reader) -> FinalChunk:
        first = await reader.next()
        assert isinstance(first, Chunk)
        self.taken.append(first)
        self.push = GivingPush(reader, self.give)
        return await self.push.run()

    def writable(self, room: int = 1000) -> None:
        self.room = room
        self.push.writable()

    @property
    def text(self) -> str:
        return "".join(self.words)


class Streaming:
    """A resumable stream whose events a test hands over."""

    def __init__(self, **limits: float) -> None:
        self.service, self.source = Service(**limits), PushedSource(Delta("first"))
        self.id = ""

    async def begin(self, room: int = 1000) -> Caller:
        """Begins the stream."""

        async def call() -> FinalChunk:
            async with self.service.open_stream(self.source) as (reader, stream):  # type: ignore[arg-type]
                self.id = stream.id
                return await caller.follow(reader)

        caller = Caller(room)
        caller.task = asyncio.create_task(call())
        await asyncio.sleep(0.001)
        return caller

    async def attach(self, room: int = 1000, after: int = 0) -> Caller:
        """Attaches another caller."""

        async def call() -> FinalChunk:
            async with self.service.replays.resume(self.id, after) as attached:
                return await caller.follow(attached.reader)

        caller = Caller(room)
        caller.task = asyncio.create_task(call())
        await asyncio.sleep(0.001)
        return caller

    def arrived(self, *words: str) -> bool:
        return self.source.receiver.arrived([Delta(word) for word in words])

    def end(self) -> None:
        self.source.receiver.arrived([END])
        self.source.receiver.ended(None)


@in_virtual_time
async def test_a_chunk_reaches_all_readers_in_the_callback_in_which_it_comes():
    stream = Streaming()
    one = await stream.begin()
    other = await stream.attach()
    assert stream.arrived("a") is True
    assert (one.words, other.words) == (["first", "a"], ["first", "a"])
    stream.end()
    assert [final.sequence for final in await asyncio.gather(one.task, other.task)] == [3, 3]
    await stream.service.close()


@in_virtual_time
async def test_a_full_reader_waits_at_its_place_and_the_others_are_not_held_up():
    stream = Streaming()
    slow, fast = await stream.begin(room=0), await stream.attach()
    for word in "abcde":
        assert stream.arrived(word) is True
    assert (slow.words, fast.words) == (["first"], ["first", *"abcde"])
    stream.end()
    await fast.task
    assert not slow.task.done()
    slow.writable()
    assert (slow.words, slow.taken[-1].sequence) == (["first", "a", "bcde"], 6)
    assert (await slow.task).sequence == 7
    await stream.service.close()


@in_virtual_time
async def test_where_all_readers_are_full_a_chunk_a_second_is_read_ahead():
    stream = Streaming()
    caller = await stream.begin(room=0)
    assert stream.arrived("a") is False
    assert stream.arrived("b") is False
    resumed = stream.source.resumed
    await asyncio.sleep(0.9)
    assert stream.source.resumed == resumed
    await asyncio.sleep(0.2)
    assert stream.source.resumed == resumed  # "b" was there already
    await asyncio.sleep(1)
    assert stream.source.resumed == resumed + 1
    assert stream.arrived("c") is False
    caller.writable()
    assert caller.words == ["first", "a", "bc"]
    assert stream.arrived("d") is True
    await stream.service.close()


@in_virtual_time
async def test_the_provider_may_be_silent_while_all_readers_are_full_and_not_while_one_waits():
    stream = Streaming()
    full = await stream.begin(room=0)
    stream.arrived("a", "x" * 70_000)  # with so much to read, nothing is read ahead
    await asyncio.sleep(500)
    assert not full.task.done()
    loop = asyncio.get_running_loop()
    waits_since = loop.time()
    full.writable()
    with pytest.raises(HeadwaterError) as caught:
        await full.task
    assert caught.value.reason is Reason.STREAM_TIMEOUT
    assert loop.time() - waits_since == pytest.approx(Timeouts().next_chunk_seconds, abs=1)
    await stream.service.close()


@in_virtual_time
async def test_a_reader_that_takes_more_while_another_is_given_a_chunk_does_not_change_the_order():
    stream = Streaming()
    one, other = await stream.begin(), await stream.attach(room=0)
    stream.arrived("a")
    give = one.give

    def give_and_free(chunk: Chunk) -> bool:
        other.writable()
        return give(chunk)

    one.push._give = give_and_free  # as two calls of one connection, whose windows depend on each other
    stream.source.receiver.arrived([Delta("b"), Delta(thinking="c"), Delta("d")])
    assert [chunk.sequence for chunk in one.taken] == [chunk.sequence for chunk in other.taken] == [1, 2, 3, 4, 5]
    await stream.service.close()


@in_virtual_time
async def test_a_full_reader_that_holds_up_the_others_is_let_go():
    stream = Streaming(max_bytes=20_000, lagging_seconds=10)
    stuck, fast = await stream.begin(room=0), await stream.attach()
    for _ in range(6):
        stream.arrived("x" * 5_000)
    assert len(fast.words) == 5
    await asyncio.sleep(9)
    assert not stuck.task.done()
    await asyncio.sleep(2)
    with pytest.raises(HeadwaterError, match="held up the others"):
        await stuck.task
    assert len(fast.text) == len("first") + 6 * 5_000
    stream.end()
    await fast.task
    await stream.service.close()


@in_virtual_time
async def test_a_full_log_takes_more_as_soon_as_its_reader_has_moved():
    stream = Streaming(max_bytes=20_000)
    caller = await stream.begin(room=0)
    for _ in range(3):
        assert stream.arrived("x" * 5_000) is False
        await asyncio.sleep(3)
    assert stream.arrived("y" * 5_000) is False
    await asyncio.sleep(3)
    caller.writable()
    await asyncio.sleep(0.001)
    assert len(caller.text) == len("first") + 4 * 5_000
    assert stream.arrived("z") is True
    await stream.service.close()


@in_virtual_time
async def test_a_cancelled_stream_ends_for_all_readers_after_what_came_before():
    stream = Streaming()
    full, fast = await stream.begin(room=0), await stream.attach()
    stream.arrived("a")
    stream.service.streams.cancel_stream(stream.id)
    with pytest.raises(HeadwaterError) as caught:
        await fast.task
    assert caught.value.reason is Reason.STREAM_CANCELLED
    assert not full.task.done()
    full.writable()
    with pytest.raises(HeadwaterError) as caught:
        await full.task
    assert (caught.value.reason, full.words) == (Reason.STREAM_CANCELLED, ["first", "a"])
    await stream.service.close()


@in_virtual_time
async def test_a_reader_that_leaves_does_not_stop_the_stream():
    stream = Streaming()
    caller = await stream.begin(room=0)
    stream.arrived("a")
    caller.task.cancel()
    await asyncio.wait([caller.task])
    assert stream.arrived("b") is True
    other = await stream.attach(after=1)
    assert other.words == ["ab"]
    stream.end()
    assert (await other.task).sequence == 4
    await stream.service.close()


@in_virtual_time
async def test_a_reader_gets_no_chunk_of_the_round_behind_its_end():
    stream = Streaming()
    caller = await stream.begin()
    async with stream.service.replays.resume(stream.id, 0) as attached:
        push = GivingPush(attached.reader, caller.give)  # its task does not run before the next round does
        running = push.run()
        running.send(None)
        stream.end()
        await caller.task
        second = Provider(reason=FinishReason.STOP)
        async with stream.service.open_stream(second, Continuation(stream.id, 2)) as (reader, _):
            assert (await read(reader))[0] == TEXT
        running.close()
    assert WORDS[0] not in caller.words
    await stream.service.close()


@pytest.mark.parametrize("seed", range(20))
def test_pushed_and_waiting_readers_side_by_side_lose_nothing(seed: int) -> None:
    async def main() -> None:
        chance = random.Random(seed)  # noqa: S311
        service = Service(max_bytes=chance.choice([3_000, 8_000_000]), lagging_seconds=1000)

        async def pushed(caller: Caller) -> None:
            async with service.replays.resume(stream.id, 0) as attached:
                assert (await caller.follow(attached.reader)).sequence == 11

        async def waiting() -> None:
            async with service.replays.resume(stream.id, 0) as attached:
                text = ""
                while isinstance(chunk := await attached.reader.next(), Chunk):
                    text += chunk.delta.content
                    await asyncio.sleep(chance.choice([0, 0, 1]))
                assert text == TEXT

        callers = [Caller(room=chance.randrange(4)) for _ in range(5)]
        async with service.open_stream(Provider(pause=0.5)) as (reader, stream):
            tasks = [asyncio.create_task(pushed(caller)) for caller in callers]
            tasks += [asyncio.create_task(waiting()) for _ in range(3)]
            own = asyncio.create_task(read(reader))
            while any(not task.done() for task in tasks):
                await asyncio.sleep(chance.uniform(0.1, 2))
                caller = chance.choice(callers)
                if hasattr(caller, "push"):
                    caller.writable(room=chance.randrange(4))
            assert (await own)[0] == TEXT
            await asyncio.gather(*tasks)
        assert [caller.text for caller in callers] == [TEXT] * 5
        await service.close()

    in_virtual_time(main)()
