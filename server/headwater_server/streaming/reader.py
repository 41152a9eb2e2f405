"""A caller's place in a resumable stream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from headwater_server.domain.chunks import Chunk, FinalChunk
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.eventlog.stream_log import StreamLog
from headwater_server.streaming.merging import merge_ahead


def expired(stream_id: str, message: str, first_sequence: int = 0) -> HeadwaterError:
    """The error for chunks that are gone; `first_sequence` is that of the first one still there, 0 for none."""
    metadata = {"stream_id": stream_id[:100], **({"first_sequence": str(first_sequence)} if first_sequence else {})}
    return HeadwaterError(Reason.STREAM_EXPIRED, message, metadata=metadata)


class Upstream(Protocol):
    """The side of a stream that its readers see."""

    def flow(self) -> None:
        """A reader has begun to wait: all that has come is appended, and the provider is read on."""
        ...

    def moved(self) -> None:
        """A reader has taken an entry."""
        ...


class Reader:
    """A place in the log of a stream, made by `Replay.begin` and `attach`; belongs to the task that made it.

    Its entries are waited for by `next`, or taken in the callback in which they come, see `push`.

    Args:
        log: of the stream.
        place: of the entry that it gets next.
        upstream: appends what comes after the last entry.

    Attributes:
        waits: whether it has all that there is, and takes the next entry at once.
        on_arrived: called when there is something to take, instead of waking `next`.
        give: gets a chunk before which nothing waits, instead of that call; says whether it was taken.
    """

    def __init__(self, log: StreamLog, place: int, upstream: Upstream) -> None:
        self.place = place
        self.waits = False
        self.on_arrived: Callable[[], bool] | None = None
        self.give: Callable[[Chunk], bool] | None = None
        self._log = log
        self._upstream = upstream
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._waiting: asyncio.Future[None] | None = None
        self._error: HeadwaterError | None = None

    async def next(self) -> Chunk | FinalChunk:
        """The next chunk, merged with those behind it that wait too; the last is a FinalChunk.

        Raises the HeadwaterError with which the stream ended, or for which the reader was let go.
        """
        while (entry := self.take()) is None:
            await self._wait()
        try:
            if isinstance(entry, HeadwaterError):
                raise entry
            return entry
        finally:
            del entry  # this frame, to which the traceback refers, would keep the error

    def take(self) -> Chunk | FinalChunk | HeadwaterError | None:
        """As `next`, but an error is returned, and None while there is nothing."""
        if self._error is not None:
            return self._error
        if self.place == self._log.stop:
            return None
        entry, count = self._log.entry(self.place), 1
        if isinstance(entry, HeadwaterError):
            return entry.again()
        if isinstance(entry, Chunk) and self.place + 1 < self._log.stop:
            entry, count = merge_ahead(self._log.chunks(self.place))
        self.place += count
        self.waits = False
        self._upstream.moved()
        return entry

    async def _wait(self) -> None:
        """Waits until something is appended."""
        self._waiting = self._loop.create_future()
        try:
            self.resume()
            await self._waiting
        finally:
            self._waiting = None
            self.waits = False

    def wait_for_provider(self, *, waits: bool) -> None:
        """Whether the reader has all that there is, and takes the next entry at once."""
        self.waits = waits

    def resume(self) -> None:
        """All that there was is taken: the provider is read on."""
        self.waits = True
        self._upstream.flow()

    def wake(self) -> None:
        """Something was appended."""
        if self.give is not None and self.place + 1 == self._log.stop and self._error is None:
            entry = self._log.entry(self.place)
            if isinstance(entry, Chunk):
                self.place += 1
                self.waits = self.give(entry)
                return
        if self.on_arrived is not None:
            self.on_arrived()
        elif self._waiting is not None and not self._waiting.done():
            self.waits = False
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
