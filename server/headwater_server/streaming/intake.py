"""A round of a resumable stream on its way from the provider into the log, and from there to the readers.

Theory of operation. It all happens in the callback in which the provider's events come: a chunk is appended, and each
reader that waits gets it. The next chunk is taken from the provider while one of these holds:
- a reader waits: it has all that there is, and its caller takes more at once;
- there is no reader, or the stream was interrupted;
- all readers were busy for READ_AHEAD_SECONDS, and even the fastest lacks less than READ_AHEAD_BYTES: one chunk then.
Else it waits at its source, which slows the provider down. A reader that waits again has it taken at once.

A full log drops its oldest entry, if no reader lacks it. Else the chunk waits for the readers that do, and is tried
again when one of them has moved or left. Of several readers, those that hold up the others for `lagging_seconds` are
let go.

Example. Two readers wait. Chunk 7 comes: both get it, and one is busy with it. Chunk 8 goes into the log and to the
other one. The first asks again, and gets 8 from the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Protocol

from headwater_server.domain.chunks import Chunk, FinalChunk
from headwater_server.domain.errors import HeadwaterError
from headwater_server.eventlog.stream_log import StreamLog, cost
from headwater_server.streaming.live import LiveStream
from headwater_server.streaming.reader import Reader, expired
from headwater_server.streaming.terms import ReplayLimits

READ_AHEAD_SECONDS = 1.0
READ_AHEAD_BYTES = 64 * 1024


class Room(Protocol):
    """The memory of all logs."""

    def has_room(self, size: int) -> bool:
        """Whether all logs together can grow by so many bytes; forgets ended logs without readers for it."""
        ...

    def resize(self, change: int) -> None:
        """A log has grown by so many bytes."""
        ...


class Intake:
    """One round; see the module's theory of operation.

    Args:
        stream: the round.
        first: its first chunk.
        log: of the stream.
        append: adds a chunk to the log, and wakes the readers.
        readers: those of the stream at any moment.
        limits: the bounds of the stream.
        room: of all logs.
    """

    def __init__(
        self,
        stream: LiveStream,
        first: Chunk | FinalChunk,
        log: StreamLog,
        append: Callable[[Chunk | FinalChunk], object],
        readers: Collection[Reader],
        limits: ReplayLimits,
        room: Room,
    ) -> None:
        self._stream = stream
        self._log = log
        self._append = append
        self._readers = readers
        self._limits = limits
        self._room = room
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[Exception | None] = self._loop.create_future()
        self._is_taking = False
        self._is_awaited = False  # the provider, for the next chunk
        self._taken: Chunk | FinalChunk | None = first  # the chunk that is to be appended next
        self._busy_since: float | None = None  # when the last reader stopped to wait
        self._reads_ahead = False  # the next chunk is wanted although all readers are busy
        self._ahead: asyncio.TimerHandle | None = None
        self._full_since: float | None = None
        self._lagging: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Takes the round to its end. Raises the error with which it ends."""
        self._stream.on_arrived = self._take
        try:
            self.flow()
            end = await self._over
        finally:
            self._stream.on_arrived = None
            self._stop_lagging()
            if self._ahead is not None:
                self._ahead.cancel()
        try:
            if end is not None:
                raise end
        finally:
            del end  # this frame, to which the traceback refers, would keep the error

    def flow(self) -> None:
        """A reader has begun to wait, or has left: takes what has come, if it is wanted, and lets the provider send."""
        if not self._over.done() and self._take():
            self._stream.resume()

    def moved(self) -> None:
        """A reader has taken an entry."""
        if self._taken is not None:
            self._loop.call_soon(self.flow)  # once the reader has given that entry to its caller

    def _take(self) -> bool:
        """Takes what has come, as long as it is wanted. Whether that was all."""
        if self._is_taking:
            return False  # a reader wants more while it is given a chunk: the loop below sees that
        self._is_taking = True
        try:
            while self._is_wanted():
                self._busy_since = None
                entry = self._taken or self._stream.take()
                if entry is None:
                    self._await_provider()
                    return True
                if isinstance(entry, HeadwaterError):
                    self._end(entry)
                    return True
                self._taken = entry
                if not self._make_room(cost(entry)):
                    break
                self._is_awaited = self._reads_ahead = False
                self._taken = None
                self._append(entry)
                if isinstance(entry, FinalChunk):
                    self._end(None)
                    return True
        except Exception as error:  # noqa: BLE001  `run` raises it
            self._end(error)
            return True
        finally:
            self._is_taking = False
        if not self._over.done():
            self._pause()
        return False

    def _is_wanted(self) -> bool:
        """Whether the next chunk is to be appended."""
        if self._over.done():
            return False
        for reader in self._readers:
            if reader.waits:
                return True
        return not self._readers or self._reads_ahead or self._taken is not None or self._stream.is_interrupted

    def _await_provider(self) -> None:
        if not self._is_awaited:  # its silence is counted from its last chunk, however often readers come and go
            self._is_awaited = True
            self._stream.wait_for_provider(waits=True)

    def _pause(self) -> None:
        """Nothing is wanted, or there is no room: the provider may be silent."""
        self._is_awaited = False
        self._stream.wait_for_provider(waits=False)
        if self._taken is None and self._busy_since is None:
            self._busy_since = self._loop.time()
            if self._ahead is None:
                self._ahead = self._loop.call_at(self._busy_since + READ_AHEAD_SECONDS, self._read_ahead)

    def _read_ahead(self) -> None:
        """Takes a chunk, if all readers have been busy for so long. One timer runs at a time, as in `watchdog`."""
        self._ahead = None
        if self._busy_since is None:
            return
        now = self._loop.time()
        due = self._busy_since + READ_AHEAD_SECONDS
        if due <= now:
            if self._log.cost_from(max(reader.place for reader in self._readers)) < READ_AHEAD_BYTES:
                self._reads_ahead = True
                self.flow()
                return
            due = now + READ_AHEAD_SECONDS
        self._ahead = self._loop.call_at(due, self._read_ahead)

    def _end(self, error: Exception | None) -> None:
        if not self._over.done():
            self._over.set_result(error)

    def _make_room(self, size: int) -> bool:
        """Drops the oldest entries until there is room. False: a reader lacks the oldest, so the chunk must wait."""
        log = self._log
        while log.cost and not self._stream.is_interrupted:
            if log.cost + size <= self._limits.max_bytes and self._room.has_room(size):
                break
            if any(reader.place <= log.first for reader in self._readers):
                self._watch_lagging()
                return False
            before = log.cost
            log.drop_first()
            self._room.resize(log.cost - before)
        self._full_since = None
        self._stop_lagging()
        return True

    def _watch_lagging(self) -> None:
        """Lets the readers that hold up others go when it is time."""
        self._stop_lagging()
        self._full_since = self._full_since or self._loop.time()
        if len(self._readers) > 1:
            self._lagging = self._loop.call_at(self._full_since + self._limits.lagging_seconds, self._let_go)

    def _stop_lagging(self) -> None:
        if self._lagging is not None:
            self._lagging.cancel()
            self._lagging = None

    def _let_go(self) -> None:
        limit = self._limits.lagging_seconds
        text = f"this reader held up the others for {limit:g} seconds; resume after the last chunk that came"
        first = self._log.first_sequence
        for reader in [reader for reader in self._readers if reader.place == self._log.first]:
            reader.let_go(expired(self._stream.id, text, first))
