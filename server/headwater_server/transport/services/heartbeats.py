"""Empty chunks on a stream that is quiet, for proxies that cut quiet connections.

Theory of operation. Without an interval the chunks are written as they are, at no cost. With one, a task looks when the
last message was written, and sleeps until the interval is over. A lock keeps its writes and those of the chunks apart:
gRPC takes one message of a call at a time. An empty chunk is no entry of a log, and has no number.

Example. The interval is 15 s. Headers go out at 0 s, chunks come at 20 s and 40 s. Empty chunks are written at 15 s and
35 s, for at 20 s the time began again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import TypeAlias

from headwater.v1 import agent_pb2

Write: TypeAlias = Callable[[bytes], Awaitable[None]]

_EMPTY = agent_pb2.StreamChunk().SerializeToString()


def heartbeats(
    write: Write, seconds: float | None, begun: asyncio.Task[None] | None
) -> AbstractAsyncContextManager[Write]:
    """Writes the chunks of a block, and an empty one where nothing was written for so long.

    Args:
        write: writes a chunk of the call.
        seconds: the interval; None for no empty chunks.
        begun: sends the headers; nothing may be written before. None: they were sent.
    """
    return nullcontext(write) if seconds is None else _beating(write, seconds, begun)


@asynccontextmanager
async def _beating(write: Write, seconds: float, begun: asyncio.Task[None] | None) -> AsyncIterator[Write]:
    pulse = _Pulse(write, seconds)
    beating = asyncio.create_task(pulse.beat(begun), name="headwater heartbeats")
    try:
        yield pulse.write
    finally:
        beating.cancel()
        await asyncio.wait([beating])
        if not beating.cancelled():
            beating.exception()  # of a call that has ended; the writer of its chunks meets it too


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
