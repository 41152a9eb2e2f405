"""An HTTP server whose answers a test writes itself, byte by byte."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Upstream:
    """Gives every request the answer that the test has set; counts what it could send.

    Args:
        answer: writes the answer, head and all; the connection is closed after it.
        path: that of a Unix socket to listen at, instead of a port.
        tls: makes the connections encrypted.

    Attributes:
        answer: writes the answer, head and all; the connection is closed after it.
        requests: heads of the requests, as they came.
        bodies: their bodies.
    """

    def __init__(self, answer: Answer, path: str = "", tls: ssl.SSLContext | None = None) -> None:
        self.answer = answer
        self._path = path
        self._tls = tls
        self.requests: list[str] = []
        self.bodies: list[bytes] = []
        self.url = ""
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Upstream:
        if self._path:
            self._server = await asyncio.start_unix_server(self._serve, self._path)
            return self
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        scheme = "https" if self._tls else "http"
        self.url = f"{scheme}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # Left by the client, or cancelled at the end of the test: both are how an answer ends.
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            try:
                self.requests.append((await reader.readuntil(b"\r\n\r\n")).decode("latin-1"))
                length = re.search(r"(?i)^content-length: *(\d+)", self.requests[-1], re.MULTILINE)
                self.bodies.append(await reader.readexactly(int(length[1]) if length else 0))
                await self.answer(writer)
            finally:
                writer.close()


def always(status: str, body: bytes, **headers: str) -> Answer:
    """The same whole answer every time."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status}", *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items())]
        lines.append(f"content-length: {len(body)}")
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await writer.drain()

    return answer


def endless(status: str, piece: bytes, pause: float = 0.0, **headers: str) -> Answer:
    """A body that never ends."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status}", *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items())]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)

    return answer
