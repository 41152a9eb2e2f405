"""A caller's place in a resumable stream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from headwater_server.domain.chunks import Chunk, FinalChunk
from headwater_server.domain.errors import HeadwaterError
from headwater_server.eventlog.stream_log import StreamLog
from headwater_server.streaming.merging import merge_ahead


class Upstream(Protocol):
    """The side of a stream that its readers see."""

    @property
    def can_pull(self) -> bool:
        """Whether the provider is to be read, and no task does it."""
        ...

    async def pull(self) -> None:
        """Appends the provider's next chunk to the log. A task that is cancelled meanwhile loses nothing."""
        ...


class Reader:
    """A place in the log of a stream, made by `Replay.begin` and `attach`; belongs to the task that made it.

    Args:
        log: of the stream.
        place: of the entry that it gets next.
        upstream: appends what comes after the last entry.
        on_moved: called when it has taken an entry.
    """

    def __init__(self, log: StreamLog, place: int, upstream: Upstream, on_moved: Callable[[], object]) -> None:
        self.place = place
        self._log = log
        self._upstream = upstream
        self._on_moved = on_moved
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._waiting: asyncio.Future[None] | None = None
        self._error: HeadwaterError | None = None

    async def next(self) -> Chunk | FinalChunk:
        """The next chunk, merged with those behind it that wait too; the last is a FinalChunk.

        Raises the HeadwaterError with which the stream ended, or for which the reader was let go.
        """
        while self.place == self._log.stop and self._error is None:
            if self._upstream.can_pull:
                await self._upstream.pull()
            else:
                await self._wait()
        if self._error is not None:
            raise self._error
        entry = self._log.entry(self.place)
        if isinstance(entry, HeadwaterError):
            raise entry.again()
        count = 1
        if isinstance(entry, Chunk) and self.place + 1 < self._log.stop:
            entry, count = merge_ahead(self._log.chunks(self.place))
        self.place += count
        self._on_moved()
        return entry

    async def _wait(self) -> None:
        """Waits until something is appended, or the task that reads the provider leaves."""
        self._waiting = self._loop.create_future()
        try:
            await self._waiting
        finally:
            self._waiting = None

    def wake(self) -> None:
        """Something was appended, or no task reads the provider."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def let_go(self, error: HeadwaterError) -> None:
        """Ends its call with the error, wherever the call is; the caller may come back, and `detached` says so."""
        error.about(detached="true")
        if self._error is None:
            self._error = error
            if self._waiting is not None:
                self.wake()
            elif self._task is not None:
                self._task.cancel()

    def take_back(self) -> HeadwaterError | None:
        """The error of `let_go`, when its cancellation was the only one; it is taken back then."""
        if self._error is not None and self._task is not None and not self._task.uncancel():
            return self._error
        return None
