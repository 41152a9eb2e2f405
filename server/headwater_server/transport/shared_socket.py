"""Takes the connections of a Unix socket that several processes share.

A port is shared by the kernel, a Unix socket is not: gRPC listens only on one that it has made. So each process accepts
connections from the listening socket that the supervisor has made and handed to all of them, joins each to the private
socket of this process's gRPC server, and passes the bytes on. A side that does not read stops the other.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

READ_BYTES = 64 * 1024


class SharedSocket:
    """Passes connections on, from `start` to `stop`.

    Args:
        path: the socket of the gRPC server.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._server: asyncio.Server | None = None
        self._joined: set[asyncio.Task[None]] = set()

    async def start(self, listener: int) -> None:
        """Takes connections from the listening socket with this descriptor."""
        shared = socket.socket(fileno=listener)
        shared.set_inheritable(False)  # a program that this process starts must not keep it open
        shared.setblocking(False)
        self._server = await asyncio.start_unix_server(self._accept, sock=shared, limit=READ_BYTES)

    def leave(self) -> None:
        """Takes no more connections; those that are there continue."""
        if self._server is not None:
            self._server.close()

    async def stop(self) -> None:
        """Takes no more connections, and closes those that are there."""
        self.leave()
        for task in list(self._joined):
            task.cancel()
        if self._joined:
            await asyncio.wait(self._joined)

    def _accept(self, theirs: asyncio.StreamReader, to_them: asyncio.StreamWriter) -> None:
        joined = asyncio.create_task(self._join(theirs, to_them))
        self._joined.add(joined)
        joined.add_done_callback(self._joined.discard)

    async def _join(self, theirs: asyncio.StreamReader, to_them: asyncio.StreamWriter) -> None:
        try:
            ours, to_us = await asyncio.open_unix_connection(self._path, limit=READ_BYTES)
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(_pass_on(theirs, to_us))
                    both.create_task(_pass_on(ours, to_them))
            finally:
                await _close(to_us)
        except* OSError:
            pass  # one side has gone, or this process ends
        finally:
            await _close(to_them)


async def _pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(READ_BYTES):
        sink.write(data)
        await sink.drain()
    sink.write_eof()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
