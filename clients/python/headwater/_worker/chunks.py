"""The way of a handler's output from its own loop or thread to the background loop.

Theory of operation. The handler adds pieces from any thread. A task on the background loop sends all gathered pieces at
once, so that a handler that is faster than the connection pays for one message where it wrote many pieces. The waiting
text is bounded: past the bound the handler waits.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import Awaitable, Callable
from typing import TypeAlias

Emit: TypeAlias = Callable[[str, str], Awaitable[None]]
"""Sends text and thinking of a task; to be awaited on the background loop."""

MAX_WAITING_CHARACTERS = 64 * 1024


class ChunkRelay:
    """Takes pieces in one thread and emits them in another: the loop that it is made on."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._pieces: list[str] = []
        self._size = 0
        self._scheduled = False
        self._closed = False
        self._room: concurrent.futures.Future[None] | None = None
        self._pump: asyncio.Task[None] | None = None

    def add(self, text: str) -> concurrent.futures.Future[None] | None:
        """Takes a piece; from any thread. With too much waiting, returns a future to wait for before the next piece.

        Raises:
            CancelledError: of concurrent.futures, when the output is no longer wanted.
        """
        with self._lock:
            if self._closed:
                raise concurrent.futures.CancelledError
            self._pieces.append(text)
            self._size += len(text)
            if not self._scheduled:
                self._scheduled = True
                self._loop.call_soon_threadsafe(self._start)
            if self._size < MAX_WAITING_CHARACTERS:
                return None
            self._room = concurrent.futures.Future()
            return self._room

    async def flush(self) -> None:
        """Returns when all is sent that was added."""
        while self._scheduled:
            await asyncio.sleep(0)  # lets `_start` run, if it has not
            if self._pump is not None:
                await self._pump

    async def close(self) -> None:
        """Takes no more pieces. Raises the exception of `emit`, if there was one."""
        self._refuse()
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.wait([self._pump])
            if not self._pump.cancelled():
                self._pump.result()

    def _start(self) -> None:
        if not self._closed:
            self._pump = self._loop.create_task(self._send())

    def _refuse(self) -> None:
        with self._lock:
            self._closed, room = True, self._room
        if room is not None:
            room.cancel()

    async def _send(self) -> None:
        try:
            await self._send_all()
        except BaseException:
            self._refuse()
            raise

    async def _send_all(self) -> None:
        while True:
            with self._lock:
                text, room = "".join(self._pieces), self._room
                self._pieces, self._size, self._room = [], 0, None
                if not text:
                    self._scheduled = False
            if room is not None:
                with contextlib.suppress(concurrent.futures.InvalidStateError):  # the waiting handler was cancelled
                    room.set_result(None)
            if not text:
                return
            await self._emit(text, "")
