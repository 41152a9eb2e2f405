"""A small HTTP server for the pages that operators and their programs read.

A connection has one request: it is answered and closed. So one limit of time holds for all that a caller can do slowly,
and one limit of number for all callers. The request is read by h11, which bounds its headers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeAlias

import h11

from headwater_server.telemetry.background import in_background

CONNECTION_SECONDS = 10.0
"""How long a connection may take in all."""
MAX_CONNECTIONS = 32
"""Further ones are closed at once."""
MAX_HEADER_BYTES = 16 * 1024
_READ_BYTES = 4 * 1024
_METHODS = (b"GET", b"HEAD")


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a request: its status, body and type."""

    status: HTTPStatus
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"


Page: TypeAlias = Callable[[], Awaitable[Answer]]


@asynccontextmanager
async def serving(host: str, port: int, pages: Mapping[str, Page]) -> AsyncIterator[int]:
    """Serves the pages, by their paths, in the block; the port. Raises OSError where the address is taken or wrong."""
    admin = _Admin(pages)
    server = await asyncio.start_server(admin.connected, host, port, limit=MAX_HEADER_BYTES)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await admin.close()
        await server.wait_closed()


class _Admin:
    def __init__(self, pages: Mapping[str, Page]) -> None:
        self._pages = pages
        self._connections: set[asyncio.Task[None]] = set()

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers a caller, in a task that belongs to this server."""
        if len(self._connections) >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        task = in_background(self._serve(reader, writer), "headwater admin")
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def close(self) -> None:
        """Ends all connections."""
        for task in self._connections:
            task.cancel()
        if self._connections:
            await asyncio.wait(self._connections)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, TimeoutError):  # the caller has gone, or is too slow
                async with asyncio.timeout(CONNECTION_SECONDS):
                    await self._answer(reader, writer)
                    writer.close()
                    await writer.wait_closed()
        finally:
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEADER_BYTES)
        try:
            request = await _request(connection, reader)
        except h11.RemoteProtocolError as error:
            answer, has_body = Answer(HTTPStatus(error.error_status_hint)), True
        else:
            if request is None:
                return
            answer, has_body = await self._page(request), request.method != b"HEAD"
        body = answer.body or f"{answer.status.phrase}\n".encode()
        headers = [
            ("content-type", answer.content_type),
            ("content-length", str(len(body))),
            ("connection", "close"),
            *([("allow", "GET, HEAD")] if answer.status is HTTPStatus.METHOD_NOT_ALLOWED else []),
        ]
        response = h11.Response(status_code=answer.status, headers=headers, reason=answer.status.phrase.encode())
        writer.write(connection.send(response) or b"")
        if has_body:
            writer.write(connection.send(h11.Data(data=body)) or b"")
        await writer.drain()

    async def _page(self, request: h11.Request) -> Answer:
        page = self._pages.get(request.target.partition(b"?")[0].decode("latin-1"))
        if page is None:
            return Answer(HTTPStatus.NOT_FOUND, f"there are {', '.join(self._pages)}\n".encode())
        return await page() if request.method in _METHODS else Answer(HTTPStatus.METHOD_NOT_ALLOWED)


async def _request(connection: h11.Connection, reader: asyncio.StreamReader) -> h11.Request | None:
    """The request; None from a caller that leaves. Raises h11.RemoteProtocolError."""
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(await reader.read(_READ_BYTES))
    return event if isinstance(event, h11.Request) else None
