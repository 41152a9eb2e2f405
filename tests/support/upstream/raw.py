"""A server whose connections a test scripts itself, plain or with TLS, on whichever event loop runs."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from headwater_server.providers.http1.connection import Site

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter, int], Awaitable[None]]
"""Serves a connection, whose number it gets; the connection is closed after it."""


class RawServer:
    """A server at work.

    Attributes:
        site: where it is.
        left: of how many connections the client has left, or has been left.
    """

    def __init__(self, port: int, *, is_tls: bool) -> None:
        self.site = Site("127.0.0.1", port, is_tls)
        self.connections = 0
        self.left = 0
        self.has_left = asyncio.Event()


@asynccontextmanager
async def raw_server(serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[RawServer]:
    """A server that serves each connection so."""
    tasks: set[asyncio.Task[None]] = set()

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        number, server.connections = server.connections, server.connections + 1
        try:
            await serve(reader, writer, number)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            server.left += 1
            server.has_left.set()
            tasks.discard(task)
            writer.close()

    listening = await asyncio.start_server(run, "127.0.0.1", 0, ssl=tls)
    server = RawServer(listening.sockets[0].getsockname()[1], is_tls=tls is not None)
    try:
        yield server
    finally:
        listening.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await listening.wait_closed()


async def request(reader: asyncio.StreamReader) -> bytes:
    """The next request, head and body. Raises IncompleteReadError when the client has left."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = next((int(line[16:]) for line in lines if line.startswith(b"content-length: ")), 0)
    return head + await reader.readexactly(length)


def answers(*texts: bytes, closes: bool = False) -> Serve:
    """Gives each request of a connection the next of these texts; then closes it, or waits until the client leaves."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        for text in texts:
            await request(reader)
            writer.write(text)
            await writer.drain()
        if not closes:
            await reader.read()

    return serve
