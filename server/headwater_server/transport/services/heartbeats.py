"""Empty chunks on a stream that is quiet, for proxies that cut quiet connections.

Theory of operation. Without an interval the chunks are written as they are, at no cost. With one, there are two ways. A
call of the lean front takes bytes without waiting: a timer looks when the last message was sent, and sends an empty one
if the interval is over. gRPC's takes one message at a time, and its writer waits: there a task does the same, and a
lock keeps its writes and those of the chunks apart. An empty chunk is no entry of a log, and has no number.

Example. The interval is 15 s. Headers go out at 0 s, chunks come at 20 s and 40 s. Empty chunks are written at 15 s and
35 s, for at 20 s the time began again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import NamedTuple, Protocol, TypeAlias

from headwater.v1 import agent_pb2
from headwater_server.transport.http2.stream import Sent

Write: TypeAlias = Callable[[bytes], Awaitable[None]]

_EMPTY = agent_pb2.StreamChunk().SerializeToString()


class Outlet(Protocol):
    """A call that takes messages without waiting.

    Attributes:
        on_writable: called when it takes messages again after FULL.
    """

    on_writable: Callable[[], None] | None

    def try_send(self, message: bytes) -> Sent:
        """Takes a message; FULL: not now."""
        ...


class Line(NamedTuple):
    """The way to a caller: writes a message and waits for it, or takes it at once, where the front has an outlet."""

    write: Write
    outlet: Outlet | None


def heartbeats(
    write: Write, outlet: Outlet | None, seconds: float | None, begun: asyncio.Task[None] | None
) -> AbstractAsyncContextManager[Line]:
    """The way for the chunks of a block, with an empty one where nothing was written for so long.

    Args:
        write: writes a chunk of the call.
        outlet: the call, if it takes messages without waiting.
        seconds: the interval; None for no empty chunks.
        begun: sends the headers; nothing may be written before. None: they were sent.
    """
    if seconds is None:
        return nullcontext(Line(write, outlet))
    return _beating(write, seconds, begun) if outlet is None else _timed(write, outlet, seconds)


@asynccontextmanager
async def _beating(write: Write, seconds: float, begun: asyncio.Task[None] | None) -> AsyncIterator[Line]:
    pulse = _Pulse(write, seconds)
    beating = asyncio.create_task(pulse.beat(begun), name="headwater heartbeats")
    try:
        yield Line(pulse.write, None)
    finally:
        beating.cancel()
        await asyncio.wait([beating])
        if not beating.cancelled():
            beating.exception()  # of a call that has ended; the writer of its chunks meets it too


@asynccontextmanager
async def _timed(write: Write, outlet: Outlet, seconds: float) -> AsyncIterator[Line]:
    beats = _Beats(write, outlet, seconds)
    try:
        yield Line(beats.write, beats)
    finally:
        beats.stop()


class _Beats:
    """Sends chunks, and knows when the last one was sent. It is the outlet of its call."""

    def __init__(self, write: Write, outlet: Outlet, seconds: float) -> None:
        self.on_writable: Callable[[], None] | None = None
        self._write = write
        self._outlet = outlet
        self._seconds = seconds
        loop = asyncio.get_running_loop()
        self._time, self._call_at = loop.time, loop.call_at
        self._sent()
        self._timer = self._call_at(self._due, self._look)
        outlet.on_writable = self._writable

    def stop(self) -> None:
        """Sends no more."""
        self._timer.cancel()
        self._outlet.on_writable = self.on_writable = None

    async def write(self, chunk: bytes) -> None:
        """Writes a chunk."""
        await self._write(chunk)
        self._sent()

    def try_send(self, message: bytes) -> Sent:
        """See Outlet."""
        sent = self._outlet.try_send(message)
        self._sent()
        return sent

    def _sent(self) -> None:
        self._due = self._time() + self._seconds

    def _writable(self) -> None:
        self._sent()
        if self.on_writable is not None:
            self.on_writable()

    def _look(self) -> None:
        if self._due <= self._time():
            self.try_send(_EMPTY)  # FULL: the caller has yet to read what is there
        self._timer = self._call_at(self._due, self._look)


class _Pulse:
    """Writes chunks one at a time, and knows when the last one went out."""

    def __init__(self, write: Write, seconds: float) -> None:
        self._write = write
        self._seconds = seconds
        self._time = asyncio.get_running_loop().time
        self._due = self._time() + seconds
        self._lock = asyncio.Lock()

    async def write(self, chunk: bytes) -> None:
        """Writes a chunk."""
        async with self._lock:
            await self._write(chunk)
            self._due = self._time() + self._seconds

    async def beat(self, begun: asyncio.Task[None] | None) -> None:
        """Writes empty chunks until it is cancelled."""
        if begun is not None:
            await asyncio.wait([begun])
        while True:
            if (pause := self._due - self._time()) > 0:
                await asyncio.sleep(pause)
            elif self._lock.locked():
                async with self._lock:
                    pass  # the chunk that was being written makes it due later
            else:
                await self.write(_EMPTY)
