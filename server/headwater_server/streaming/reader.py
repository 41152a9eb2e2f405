"""A caller's place in the log of a resumable stream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from headwater_server.domain.chunks import Chunk, FinalChunk
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.eventlog.stream_log import StreamLog
from headwater_server.streaming.merging import merge_ahead
from headwater_server.streaming.watchdog import Watchdog


class Reader:
    """A caller's place in a resumable stream, made by `Replay.begin` and `attach`; belongs to the task that made it.

    Args:
        log: of the stream.
        place: of the entry that it gets next.
        on_moved: called when it has taken an entry, and when it waits for the next.
        idle_seconds: how long it may take nothing.
    """

    def __init__(self, log: StreamLog, place: int, on_moved: Callable[[], object], idle_seconds: float) -> None:
        self.place = place
        self._log = log
        self._on_moved = on_moved
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._waiting: asyncio.Future[None] | None = None
        self._error: HeadwaterError | None = None
        self._idle = Watchdog(idle_seconds, idle_seconds, self._idled)

    async def next(self) -> Chunk | FinalChunk:
        """The next chunk, merged with those behind it that wait too; the last is a FinalChunk.

        Raises the HeadwaterError with which the stream ended, or for which the reader was let go.
        """
        self._idle.since = None  # the caller has taken the chunk before
        while self.place == self._log.stop and self._error is None:
            self._waiting = self._loop.create_future()
            self._on_moved()
            try:
                await self._waiting
            finally:
                self._waiting = None
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
        self._idle.since = self._loop.time()
        return entry

    @property
    def is_waiting(self) -> bool:
        """Whether it has all that there is, and waits for more."""
        return self._waiting is not None and not self._waiting.done()

    def wake(self) -> None:
        """Something was appended."""
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

    def close(self) -> None:
        """Stops its watch."""
        self._idle.stop()

    def _idled(self, seconds: float) -> None:
        text = f"nothing was read for {seconds:g} seconds; resume after the last chunk that came"
        self.let_go(HeadwaterError(Reason.STREAM_TIMEOUT, text))
