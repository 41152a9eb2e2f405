"""Something between a client and its server that can cut every connection, and lose what is on its way."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Self


class Gate:
    """Passes bytes on, from `async with` to the end of its block. Any thread may cut it: tools and handlers have their own.

    Args:
        behind: the port of the server.

    Attributes:
        target: the address for clients.
    """

    def __init__(self, behind: int) -> None:
        self.target = ""
        self._behind = behind
        self._open = True
        self._is_deaf = False
        self._passed_at = 0.0
        self._swallowed = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._thread = threading.get_ident()
        self._loop = asyncio.get_running_loop()
        self._server = await asyncio.start_server(self._enter, "127.0.0.1", 0)
        self.target = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cut()
        self._server.close()
        await self._server.wait_closed()
        while self._writers:
            await asyncio.sleep(0.001)

    def cut(self) -> None:
        """Cuts every connection, and lets none through until `mend`."""
        self._open = False
        self._in_its_loop(self._abort)

    def mend(self) -> None:
        """Lets connections through again."""
        self._open, self._is_deaf = True, False
        self._in_its_loop(self._swallowed.clear)

    def lead_to(self, port: int) -> None:
        """From the next connection on another server is behind it."""
        self._behind = port

    def lose(self) -> None:
        """From now until `mend`, what the client says is lost; it still hears the server."""
        self._is_deaf = True

    async def lost(self) -> None:
        """Returns when something is lost."""
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._swallowed.wait(), self._loop))

    async def quiet(self, seconds: float) -> None:
        """Returns when nothing has passed for so long."""
        while (left := self._passed_at + seconds - time.monotonic()) > 0:
            await asyncio.sleep(left)

    def _abort(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def _in_its_loop(self, act: Callable[[], object]) -> None:
        """Returns when it is done; from another thread after a moment."""
        if threading.get_ident() == self._thread:
            act()
            return
        done: Future[object] = Future()
        self._loop.call_soon_threadsafe(lambda: done.set_result(act()))
        done.result(timeout=10)

    async def _enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._open:
            writer.transport.abort()
            return
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._behind)
        both = {writer, there_writer}
        self._writers |= both
        try:
            await asyncio.gather(
                self._copy(reader, there_writer, is_heard=True), self._copy(there_reader, writer, is_heard=False)
            )
        finally:
            for each in both:
                each.transport.abort()
            self._writers -= both

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_heard: bool) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                self._passed_at = time.monotonic()
                if is_heard and self._is_deaf:
                    self._swallowed.set()
                    continue
                writer.write(data)
                await writer.drain()
        writer.transport.abort()
