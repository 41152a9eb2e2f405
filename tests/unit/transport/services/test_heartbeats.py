"""Empty chunks where a stream is quiet, and only there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from headwater.v1 import agent_pb2
from headwater_server.transport.http2.stream import Sent
from headwater_server.transport.services.heartbeats import heartbeats
from tests.support.virtual_time import run_in_virtual_time


class Call:
    """Notes what was written and when; a write takes `seconds`, and fails once the caller is `gone`."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.written: list[tuple[float, str]] = []
        self.seconds = seconds
        self.gone = False
        self._writes = 0

    async def write(self, chunk: bytes) -> None:
        assert not self._writes, "gRPC takes one message at a time"
        if self.gone:
            raise ConnectionError
        self._writes += 1
        self.written.append((asyncio.get_running_loop().time(), agent_pb2.StreamChunk.FromString(chunk).content))
        await asyncio.sleep(self.seconds)
        self._writes -= 1


class Outlet:
    """A call that takes messages at once, while it has room; notes what was sent and when."""

    def __init__(self, *, room: int = 1000) -> None:
        self.sent: list[tuple[float, str]] = []
        self.on_writable: Callable[[], None] | None = None
        self.room = room

    def try_send(self, message: bytes) -> Sent:
        now = asyncio.get_running_loop().time()
        if not self.room:
            return Sent.FULL
        self.room -= 1
        self.sent.append((now, agent_pb2.StreamChunk.FromString(message).content))
        return Sent.SENT

    async def write(self, message: bytes) -> None:
        assert self.try_send(message) is Sent.SENT


async def send_after(outlet: Outlet, pauses: list[float], interval: float | None) -> None:
    """Writes the first word, and has the others sent at once."""
    async with heartbeats(outlet.write, outlet, interval, None) as line:
        assert line.outlet is not None
        for number, pause in enumerate(pauses):
            await asyncio.sleep(pause)
            message = agent_pb2.StreamChunk(content="word").SerializeToString()
            if number:
                line.outlet.try_send(message)
            else:
                await line.write(message)
    assert outlet.on_writable is None
    await asyncio.sleep(100)


async def write_after(call: Call, pauses: list[float], interval: float | None, headers: float = 0.0) -> None:
    begun = asyncio.create_task(asyncio.sleep(headers))
    async with heartbeats(call.write, None, interval, begun) as line:
        for pause in pauses:
            await asyncio.sleep(pause)
            await line.write(agent_pb2.StreamChunk(content="word").SerializeToString())


@pytest.mark.parametrize(
    ("pauses", "interval", "expected"),
    [
        ([20, 20], 15, [(15, ""), (20, "word"), (35, ""), (40, "word")]),
        ([14, 14, 14], 15, [(14, "word"), (28, "word"), (42, "word")]),
        ([50], 15, [(15, ""), (30, ""), (45, ""), (50, "word")]),
        ([50], None, [(50, "word")]),
    ],
)
def test_an_empty_chunk_comes_when_nothing_was_written_for_the_interval(pauses, interval, expected):
    call, outlet = Call(), Outlet()
    run_in_virtual_time(write_after(call, pauses, interval))
    run_in_virtual_time(send_after(outlet, pauses, interval))
    assert call.written == outlet.sent == expected


def test_none_is_written_before_the_headers_are_out():
    call = Call()
    run_in_virtual_time(write_after(call, [60], 15, headers=40))
    assert call.written == [(40, ""), (55, ""), (60, "word")]


def test_a_reader_that_is_slow_gets_one_message_at_a_time():
    call = Call(seconds=100)
    run_in_virtual_time(write_after(call, [20, 20], 15))
    assert call.written == [(15, ""), (115, "word"), (230, ""), (330, "word")]


def test_a_full_outlet_gets_none_and_says_through_the_line_that_it_takes_more():
    async def main() -> None:
        outlet, heard = Outlet(room=0), []
        async with heartbeats(outlet.write, outlet, 15, None) as line:
            assert line.outlet is not None
            assert outlet.on_writable is not None
            line.outlet.on_writable = lambda: heard.append(asyncio.get_running_loop().time())
            await asyncio.sleep(40)
            outlet.room = 1
            outlet.on_writable()
            await asyncio.sleep(20)
        assert (outlet.sent, heard) == ([(55, "")], [40])

    run_in_virtual_time(main())


def test_the_end_of_the_call_is_the_business_of_the_one_who_writes_its_chunks():
    call = Call()
    call.gone = True
    with pytest.raises(ConnectionError):
        run_in_virtual_time(write_after(call, [20], 15))
