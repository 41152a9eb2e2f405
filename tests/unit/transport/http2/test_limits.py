"""The limits of the server on its sockets: times, sizes and counts that gRPC's own server does not have, or not so."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
import pytest

from headwater_server.transport.http2.frames import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    FrameReader,
    frame,
    settings,
)
from headwater_server.transport.http2.limits import Limits
from tests.support.fronts.frames import REQUEST, Got, block, prefixed
from tests.unit.transport.http2.conftest import SERVICE, Running, make, start

PATIENCE = 10


class Wire:
    """A connection whose frames the test writes and reads."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._frames = FrameReader()
        self._got: list[Got] = []

    def send(self, *data: bytes) -> None:
        self._writer.write(b"".join(data))

    async def next(self) -> Got | None:
        """The next frame that is no answer to settings; None at the end."""
        while not self._got:
            try:
                data = await asyncio.wait_for(self._reader.read(65_536), PATIENCE)
            except ConnectionError:
                return None
            if not data:
                return None
            self._got += [Got(*found) for found in self._frames.read(data)]
        return self._got.pop(0)

    async def until(self, *kinds: int) -> Got | None:
        """The next frame of these kinds; None when the connection ends before."""
        while (got := await self.next()) is not None and got.kind not in kinds:
            pass
        return got

    async def rest(self) -> list[Got]:
        """All frames to the end of the connection."""
        found = []
        while (got := await self.next()) is not None:
            found.append(got)
        return found


@asynccontextmanager
async def served(**limits: Any) -> AsyncIterator[Running]:
    running = await start(make("lean", limits=Limits(**limits)))
    try:
        yield running
    finally:
        await running.channel.close()
        await running.server.stop(None)


@asynccontextmanager
async def wire(running: Running, *first: bytes) -> AsyncIterator[Wire]:
    host, _, port = running.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    made = Wire(reader, writer)
    made.send(*first)
    try:
        yield made
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


def ask(stream: int, path: str, *, ends: bool = False, more: tuple[tuple[bytes, bytes], ...] = ()) -> bytes:
    fields = [(name, f"/{SERVICE}/{path}".encode() if name == b":path" else value) for name, value in REQUEST]
    return frame(HEADERS, END_HEADERS | (END_STREAM if ends else 0), stream, block([*fields, *more]))


BEGINNING = PREFACE + settings(())


@pytest.mark.parametrize(
    "first",
    [b"", PREFACE[:10], PREFACE, BEGINNING + b"\0\0\x05", BEGINNING + frame(HEADERS, 0, 1, block(REQUEST)[:9])],
    ids=["nothing", "half a preface", "no settings", "half a frame", "half a header block"],
)
async def test_a_beginning_without_an_end_is_cut(first: bytes) -> None:
    async with served(preface_seconds=0.3) as running, wire(running, first) as slow:
        await slow.rest()
        assert await running.unary("Echo")(b"x") == b"x"


async def test_a_slow_header_block_is_cut_although_frames_come() -> None:
    async with served(preface_seconds=0.5) as running, wire(running, BEGINNING, frame(HEADERS, 0, 1, b"")) as slow:
        reading = asyncio.create_task(slow.rest())
        while not reading.done():
            slow.send(frame(9, 0, 1, b"\0"))
            await asyncio.sleep(0.05)


async def test_a_silent_caller_is_asked_and_let_go() -> None:
    async with (
        served(keepalive_seconds=0.2, keepalive_timeout_seconds=0.2) as running,
        wire(running, BEGINNING) as gone,
    ):
        ping = await gone.until(PING)
        assert ping is not None
        gone.send(frame(PING, ACK, 0, ping.payload))
        assert await gone.until(PING) is not None  # it answered, and is asked again
        assert await gone.rest() == []


async def test_an_idle_connection_gets_goaway() -> None:
    async with served(idle_seconds=0.3) as running, wire(running, BEGINNING) as idle:
        first, ping = await idle.until(GOAWAY), await idle.until(PING)
        assert first is not None
        assert ping is not None
        idle.send(frame(PING, ACK, 0, ping.payload))
        assert [got.kind for got in await idle.rest()] == [GOAWAY]
        call = running.stream("Wait")(b"first")
        assert await call.read() == b"first"
        await asyncio.sleep(0.5)
        assert not call.done()  # a connection with a call is not idle
        call.cancel()


async def test_an_old_connection_gets_goaway_and_its_calls_have_their_grace() -> None:
    async with served(age_seconds=0.3, age_grace_seconds=0.5) as running:
        call = running.stream("Wait")(b"first")
        assert await call.read() == b"first"
        await asyncio.sleep(0.4)
        assert await running.unary("Echo")(b"x") == b"x"  # over another connection
        assert await call.code() is grpc.StatusCode.UNAVAILABLE
        assert await asyncio.wait_for(running.seen.ended.get(), PATIENCE) == "cancelled"


async def test_connections_beyond_the_limit_are_closed() -> None:
    async with (
        served(max_connections=1) as running,
        wire(running, BEGINNING) as first,
        wire(running, BEGINNING) as second,
    ):
        assert await first.until(SETTINGS) is not None
        assert await second.rest() == []


async def test_calls_that_cannot_begin_are_refused_so_that_callers_repeat_them() -> None:
    async with served(max_pending_calls=3) as running, wire(running, BEGINNING) as caller:
        caller.send(*(ask(id, "Wait") for id in range(1, 13, 2)))  # in one read: none has begun
        refused = [await caller.until(HEADERS) for _ in range(3)]
        assert [got.stream for got in refused if got] == [7, 9, 11]
        assert all(b"grpc-status\x0214" in got.payload for got in refused if got)


async def test_a_message_is_refused_before_it_is_sent() -> None:
    async with served(max_message_bytes=1_000) as running, wire(running, BEGINNING) as caller:
        caller.send(ask(1, "Echo"), frame(DATA, 0, 1, b"\0\0\0\x03\xe9"))
        end = await caller.until(HEADERS)
        assert end is not None
        assert b"grpc-status\x018" in end.payload
        assert b"1001 vs. 1000" in end.payload
        reset = await caller.until(RST_STREAM)
        assert (reset.number if reset else None) == 0
        caller.send(
            frame(DATA, END_STREAM, 1, b"x" * 1_001), ask(3, "Echo"), frame(DATA, END_STREAM, 3, prefixed(b"a"))
        )
        assert await caller.until(DATA) == Got(DATA, 0, 3, prefixed(b"a"))


def part(stream: int, size: int) -> bytes:
    """Frames with the beginning of a message of a MiB."""
    data = b"\0\0\x10\0\0" + bytes(size - 5)
    return b"".join(frame(DATA, 0, stream, data[at : at + 16_384]) for at in range(0, size, 16_384))


async def refused_for_holding(caller: Wire) -> int:
    """Waits for the end of a call that holds too much; which it is."""
    end, reset = await caller.until(HEADERS), await caller.until(RST_STREAM)
    assert end is not None
    assert reset is not None
    assert b"grpc-status\x018" in end.payload
    assert b"more than this server holds" in end.payload
    assert reset.stream == end.stream
    return end.stream


async def test_the_call_that_hoards_is_refused_and_not_the_next_one() -> None:
    async with (
        served(max_held_bytes=100_000, max_message_bytes=0) as running,
        wire(running, BEGINNING, ask(1, "Echo"), part(1, 60_000), ask(3, "Echo"), part(3, 20_000)) as hoarder,
        wire(running, BEGINNING, ask(1, "Echo"), part(1, 15_000)) as other,
    ):
        await pong(hoarder), await pong(other)
        assert await running.unary("Echo")(b"x" * 10_000) == b"x" * 10_000
        assert await refused_for_holding(hoarder) == 1
        other.send(frame(DATA, 0, 1, bytes(16_000)))
        assert [await pong(hoarder), await pong(other)] == [True, True]  # the others are as they were


async def test_a_connection_of_many_calls_that_hoard_together_is_the_one_that_is_refused() -> None:
    async with (
        served(max_held_bytes=100_000, max_message_bytes=0) as running,
        wire(running, BEGINNING, ask(1, "Echo"), part(1, 40_000)) as large,
        wire(running, BEGINNING) as many,
    ):
        await pong(large)
        for id in range(1, 13, 2):
            many.send(ask(id, "Echo"), part(id, 11_000 + id))
        assert await refused_for_holding(many) == 11
        large.send(frame(DATA, 0, 1, bytes(6_000)))
        assert await refused_for_holding(many) == 9
        assert await pong(large)
        many.send(*(frame(RST_STREAM, 0, id, b"\0\0\0\x08") for id in range(1, 9, 2)))
        large.send(frame(RST_STREAM, 0, 1, b"\0\0\0\x08"))
        await pong(many), await pong(large)
        assert await running.unary("Echo")(b"x" * 90_000) == b"x" * 90_000  # all was given back


async def test_the_call_whose_caller_takes_the_least_is_reset() -> None:
    flood = frame(DATA, END_STREAM, 1, prefixed(b"100000"))
    async with (
        served(max_unsent_bytes=250_000) as running,
        wire(running, PREFACE, settings([(4, 0)]), ask(1, "Flood"), flood) as other,
        wire(running, PREFACE, settings([(4, 0)])) as caller,
    ):
        assert await other.until(HEADERS) is not None
        for id, size in ((1, b"90000"), (3, b"100000"), (5, b"80000")):
            caller.send(ask(id, "Flood"), frame(DATA, END_STREAM, id, prefixed(size)))
        resets = [await caller.until(RST_STREAM) for _ in range(2)]
        assert [(got.stream, got.number) for got in resets if got] == [(3, 11), (1, 11)]
        for _ in range(2):
            assert await asyncio.wait_for(running.seen.done.get(), PATIENCE)
        assert await pong(caller)
        assert await pong(other)
        assert await running.unary("Echo")(b"x") == b"x"


async def pong(caller: Wire) -> bool:
    """Waits until all that was sent before has been read; whether nothing but the answer to that came back."""
    caller.send(frame(PING, 0, 0, b"all read"))
    got = await caller.until(PING, HEADERS, RST_STREAM)
    return got is not None and got.kind == PING


async def test_messages_are_decompressed_when_their_handler_asks_for_them() -> None:
    async with served(max_held_bytes=60_000) as running, wire(running, BEGINNING) as caller:
        bomb = gzip.compress(bytes(4_000_000), mtime=0)
        gzipped = ((b"grpc-encoding", b"gzip"),)
        caller.send(ask(1, "Step", more=gzipped))
        for data in (bomb, bomb, b"none"):
            caller.send(frame(DATA, 0, 1, b"\1" + prefixed(data)[1:]))
        assert await pong(caller)  # nothing was read, so nothing is too large, and nothing is no gzip
        for _ in range(2):
            running.seen.steps.release()
            answer = await caller.until(DATA)
            assert answer is not None
            assert answer.payload == prefixed(b"4000000")
        running.seen.steps.release()
        end = await caller.until(HEADERS)
        assert end is not None
        assert b"cannot be decompressed" in end.payload
        assert await asyncio.wait_for(running.seen.ended.get(), PATIENCE) == "cancelled"


async def test_too_much_metadata_ends_its_call_alone() -> None:
    async with served(max_header_bytes=16_384) as running, wire(running, BEGINNING) as caller:
        caller.send(ask(1, "Echo", more=((b"long", b"x" * 16_100),)))
        end = await caller.until(HEADERS)
        assert end is not None
        assert b"grpc-status\x018" in end.payload
        caller.send(ask(3, "Echo"), frame(DATA, END_STREAM, 3, prefixed(b"a")))
        assert await caller.until(DATA) is not None


async def test_a_request_of_the_web_is_answered_in_words() -> None:
    get = [(b":method", b"GET"), *REQUEST[1:4]]
    async with (
        served() as running,
        wire(running, BEGINNING, frame(HEADERS, END_HEADERS | END_STREAM, 1, block(get))) as web,
    ):
        head, words = await web.until(HEADERS), await web.until(DATA)
        assert head is not None
        assert words is not None
        assert b"405" in head.payload
        assert b"gRPC" in words.payload


@pytest.mark.parametrize(("request_", "code"), [(b"", "UNKNOWN"), (b"abort", "UNAVAILABLE")])
async def test_trailers_that_cannot_be_sent_end_their_call_all_the_same(
    request_: bytes, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with served() as running:
        assert (await running.unary("BadTrailers")(request_, timeout=PATIENCE).code()).name == code
    assert "the key 'Upper Case' of metadata" in caplog.text


async def test_a_stop_ends_calls_so_that_callers_repeat_them() -> None:
    async with served() as running:
        call = running.stream("Wait")(b"first")
        assert await call.read() == b"first"
        await running.server.stop(0.1)
        assert await call.code() is grpc.StatusCode.UNAVAILABLE


async def test_callers_who_do_not_read_do_not_hold_up_the_end() -> None:
    async with served() as running:
        calls = [running.stream("Flood")(b"100000") for _ in range(12)]
        for call in calls:
            assert len(await call.read()) == 100_000
        began = asyncio.get_running_loop().time()
        await running.server.stop(0.5)
        assert asyncio.get_running_loop().time() - began < 5
        for call in calls:
            call.cancel()


async def test_a_caller_that_takes_nothing_costs_one_message() -> None:
    async with served() as running, wire(running, PREFACE, settings([(4, 0)])) as caller:
        caller.send(ask(1, "Flood"), frame(DATA, END_STREAM, 1, prefixed(b"100000")))
        head = await caller.until(HEADERS)
        assert head is not None
        caller.send(frame(PING, 0, 0, bytes(8)))
        answer = await caller.until(PING, DATA)
        assert answer is not None
        assert answer.kind == PING
        caller.send(settings([(4, 1_000)]))
        data = await caller.until(DATA)
        assert data is not None
        assert len(data.payload) == 1_000
