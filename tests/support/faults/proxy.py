"""Something between two sides of a TCP connection that does to it what networks do.

Theory of operation. A proxy has an endless series of faults. Each connection has one of them before it at a time: when
so many bytes have passed in the direction of the fault, it happens. After a fault that leaves the connection whole, the
connection gets the next of the series; after one that ends it, the next connection does. So a series drawn from a seed
meets the same bytes again, as far as both sides say the same again.

Example. The faults are a cut after 40 bytes of the answer, and a stall after 10. The first connection passes 40 bytes of
its answer, be it in the middle of a frame, then both sides see its end. The second stalls after 10 bytes, and continues
with the third fault before it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from typing import Self

from tests.support.faults.plan import Fault, Faults, Kind

_PIECE = 7
"""Bytes of a write while a connection is throttled."""
_THROTTLED = 500
"""Bytes that pass throttled."""
_RESET = struct.pack("ii", 1, 0)


class FaultyProxy:
    """Passes connections on with faults, from `async with` to the end of its block.

    Args:
        port: of the server behind it, at 127.0.0.1 or at `host`.
        faults: the series.

    Attributes:
        target: the address for clients.
        happened: how many faults of each kind have happened.
    """

    def __init__(self, port: int, faults: Faults, host: str = "127.0.0.1") -> None:
        self.target = ""
        self.happened: Counter[Kind] = Counter()
        self._behind = host, port
        self._faults = faults
        self._tasks: set[asyncio.Task[None]] = set()
        self._lines: list[_Line] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._enter, "127.0.0.1", 0)
        self.target = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def reset_oldest(self, count: int) -> None:
        """Resets so many connections of those that stand."""
        for line in self._lines[:count]:
            line.reset()

    async def _enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            async with contextlib.AsyncExitStack() as stack:
                stack.callback(writer.transport.abort)
                line = _Line(next(self._faults), self._faults, self.happened)
                await line.connect(self._behind, reader, writer, stack)
                self._lines.append(line)
                stack.callback(self._lines.remove, line)
                await line.run()


class _EndedError(Exception):
    """The connection is over."""


class _Line:
    """One connection: two sides, and the fault before it."""

    def __init__(self, fault: Fault, faults: Faults, happened: Counter[Kind]) -> None:
        self._fault = fault
        self._faults = faults
        self._happened = happened
        self._is_lost = False
        self._doubles: list[asyncio.StreamWriter] = []

    async def connect(
        self,
        behind: tuple[str, int],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        stack: contextlib.AsyncExitStack,
    ) -> None:
        """Connects to the server; for a duplicate twice, and the second answer is not read."""
        self._client = reader, writer
        self._server = await asyncio.open_connection(*behind)
        stack.callback(self._server[1].transport.abort)
        if self._fault.kind is Kind.DUPLICATE:
            unheard, double = await asyncio.open_connection(*behind)
            stack.callback(double.transport.abort)
            drain = asyncio.create_task(_swallow(unheard))
            stack.callback(drain.cancel)
            self._doubles.append(double)
            self._next()

    async def run(self) -> None:
        """Passes bytes on until the end of the connection."""
        both = [
            asyncio.create_task(self._copy(self._client[0], self._server[1], toward_server=True)),
            asyncio.create_task(self._copy(self._server[0], self._client[1], toward_server=False)),
        ]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if self._is_lost:  # each side hears nothing, and not even the end of the other
                await asyncio.wait(both)
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)
            for writer in (self._client[1], self._server[1], *self._doubles):
                writer.close()
            for writer in (self._client[1], self._server[1]):
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    def reset(self) -> None:
        """Resets both sides."""
        for _, each in (self._client, self._server):
            each.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            each.transport.abort()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, toward_server: bool) -> None:
        """Passes one direction on, until its end or that of the connection."""
        passed = 0
        with contextlib.suppress(OSError, _EndedError):
            while data := await reader.read(65536):
                fault = self._fault
                while fault.toward_server is toward_server and passed + len(data) > fault.after:
                    before = max(fault.after - passed, 0)
                    await self._pass(data[:before], writer, toward_server=toward_server)
                    data, passed = await self._happen(fault, reader, writer, data[before:]), 0
                    fault = self._next()
                await self._pass(data, writer, toward_server=toward_server)
                passed += len(data)

    async def _pass(self, data: bytes, writer: asyncio.StreamWriter, *, toward_server: bool) -> None:
        if not data or self._is_lost:
            return
        for each in (writer, *(self._doubles if toward_server else ())):
            each.write(data)
        await writer.drain()

    def _next(self) -> Fault:
        self._happened[self._fault.kind] += 1
        self._fault = next(self._faults)
        while self._fault.kind is Kind.DUPLICATE:  # a connection is doubled from its beginning, or not at all
            self._fault = next(self._faults)
        return self._fault

    async def _happen(
        self, fault: Fault, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rest: bytes
    ) -> bytes:
        """Lets a fault happen; the bytes that still pass. Raises _EndedError where the connection has ended."""
        match fault.kind:
            case Kind.DELAY | Kind.STALL:
                await asyncio.sleep(fault.seconds)
                return rest
            case Kind.THROTTLE:
                for start in range(0, min(len(rest), _THROTTLED), _PIECE):
                    piece = rest[start : min(start + _PIECE, _THROTTLED)]
                    await self._pass(piece, writer, toward_server=fault.toward_server)
                    await asyncio.sleep(fault.seconds)
                return rest[_THROTTLED:]
            case Kind.FLIP:
                return bytes([rest[0] ^ 0x10]) + rest[1:]
        self._happened[fault.kind] += 1
        match fault.kind:
            case Kind.RESET:
                self.reset()
            case Kind.HALF_CLOSE:
                writer.write_eof()
                await _swallow(reader)
            case Kind.SWALLOW:
                self._is_lost = True
                await _swallow(reader)
        raise _EndedError


async def _swallow(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(OSError):
        while await reader.read(65536):
            pass
