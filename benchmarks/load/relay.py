"""A TCP relay on the loopback interface that counts what passes."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self


class CountingRelay:
    """Passes bytes on to a server and back, from `async with` to its end.

    Attributes:
        port: where it listens.
        sent: bytes that went to the server.
        received: bytes that came back.
    """

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self.port = 0
        self.sent = 0
        self.received = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            there, back = await asyncio.open_connection(*self._address)
            try:
                ways = [self._pass(reader, back, "sent"), self._pass(there, writer, "received")]
                running = [asyncio.ensure_future(way) for way in ways]
                try:
                    await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for way in running:
                        way.cancel()
                    await asyncio.gather(*running, return_exceptions=True)
            finally:
                back.close()
        except (OSError, asyncio.CancelledError):
            pass  # a side that left, or the end of the relay: either way this connection is over
        finally:
            writer.close()

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, name: str) -> None:
        while data := await source.read(65536):
            setattr(self, name, getattr(self, name) + len(data))
            sink.write(data)
            await sink.drain()
