"""A resumable stream: read by a task of the server into a log, from which any number of callers read.

Theory of operation. The task reads the provider whether a caller is there or not, and appends each chunk and the end to
the log (`eventlog.stream_log`). A reader is a place in that log. Its call may end at any moment, for a server sees the
same when a caller cancels, dies or loses its line: the reader only leaves. Another call attaches a new reader at the
sequence that its caller has.

These bound it:
- The provider is read at the pace of the fastest reader. Where all are busy, a chunk waits READ_AHEAD_SECONDS for one,
  and longer where they lack READ_AHEAD_BYTES already: many readers that have stopped take little memory.
- The log has a size. When it is full the oldest entry goes, if no reader lacks it. Else the task waits, and TCP slows
  the provider down. Of several readers, those that hold up the others for `lagging_seconds` are let go.
- A stream without any reader is read for `detach_seconds`, then ended.
- The log is kept for `retention_seconds` after the stream's end. Between two rounds of tools that time runs too.

Example. A caller has chunks 1 to 40 when its line is cut. The task reads 41 to 55. ResumeStream after 40 attaches a
reader at chunk 41: it gets 41 to 55 merged into one chunk, for they wait together, then each chunk as it comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

import structlog

from headwater_server.domain.chunks import Chunk, FinalChunk
from headwater_server.domain.errors import HeadwaterError, Reason, draining, invalid
from headwater_server.eventlog.stream_log import ExpiredError, StreamLog, cost
from headwater_server.streaming.live import LiveStream, unexpected
from headwater_server.streaming.merging import merge_ahead
from headwater_server.telemetry.background import in_background
from headwater_server.telemetry.frames import forget_frames
from headwater_server.telemetry.logging import fault_facts

log = structlog.get_logger("headwater")


READ_AHEAD_SECONDS = 1.0
READ_AHEAD_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class ReplayLimits:
    """The bounds of resumable streams; the module says what each does.

    Attributes:
        max_bytes: of the log of one stream.
        max_bytes_in_all: of the logs of all streams of this process.
    """

    detach_seconds: float = 60.0
    retention_seconds: float = 300.0
    lagging_seconds: float = 10.0
    max_bytes: int = 8 * 1024 * 1024
    max_bytes_in_all: int = 256 * 1024 * 1024


class Owner(Protocol):
    """The side of `Replays` that a stream sees."""

    is_draining: bool

    def has_room(self, size: int) -> bool:
        """Whether all logs together can grow by so many bytes; forgets ended logs without readers for it."""
        ...

    def resize(self, change: int) -> None:
        """A log has grown by so many bytes."""
        ...

    def forget(self, replay: Replay) -> None:
        """A log need not be kept any longer."""
        ...


def expired(stream_id: str, message: str, first_sequence: int = 0) -> HeadwaterError:
    """The error for chunks that are gone; `first_sequence` is that of the first one still there, 0 for none."""
    metadata = {"stream_id": stream_id[:100], **({"first_sequence": str(first_sequence)} if first_sequence else {})}
    return HeadwaterError(Reason.STREAM_EXPIRED, message, metadata=metadata)


class Replay:
    """One resumable stream; see the module's theory of operation.

    Args:
        after: the sequence above which its chunks are numbered.
        limits: its bounds.
        owner: has all of them.

    Attributes:
        stream: the round that runs, or that ran last.
    """

    def __init__(self, after: int, limits: ReplayLimits, owner: Owner) -> None:
        self.stream: LiveStream
        self._limits = limits
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._log = StreamLog(after)
        self._readers: set[Reader] = set()
        self._task: asyncio.Task[None] | None = None
        self._round: tuple[int, asyncio.Future[None]] | None = None  # the one that runs: where it begins, when it has
        self._timer: asyncio.TimerHandle | None = None
        self._moved = asyncio.Event()

    @property
    def is_idle(self) -> bool:
        """Whether it has ended, and has no reader."""
        return self._task is None and not self._readers

    @property
    def is_unread(self) -> bool:
        """Whether it runs without a reader."""
        return self._task is not None and not self._readers

    @property
    def last_sequence(self) -> int:
        """The highest sequence of all its chunks."""
        return self._log.last_sequence

    @asynccontextmanager
    async def begin(self, opening: AbstractAsyncContextManager[LiveStream], after: int) -> AsyncIterator[Reader]:
        """Opens a round, reads it to its end, and attaches its first reader. Raises HeadwaterError.

        Args:
            opening: opens the round.
            after: the number after which its chunks are numbered.
        """
        opened: asyncio.Future[None] = self._loop.create_future()
        self._round = after, opened
        async with self._reader(self._log.stop) as reader:  # from now on the log is not forgotten
            task = in_background(self._read(opening, opened, after), "headwater resumable stream")
            try:
                await opened
            except asyncio.CancelledError:
                task.cancel()  # the caller left before there was anything to resume
                await asyncio.wait([task])
                raise
            yield reader

    def runs_round(self, after: int) -> bool:
        """Whether the round that begins after this number runs, or is about to."""
        return self._round is not None and self._round[0] == after

    @asynccontextmanager
    async def attach(self, after: int) -> AsyncIterator[Reader]:
        """Attaches a reader that begins after the chunk with this sequence. Raises HeadwaterError."""
        if self._round is not None and self.runs_round(after):
            await asyncio.wait([self._round[1]])  # until it has begun
        try:
            place = self._log.place_after(after)
        except ExpiredError:
            first = self._log.first_sequence
            text = f"the chunks after {after} are not all kept any more; the first that is still there is {first}"
            raise expired(self.stream.id, text, first) from None
        except ValueError:
            raise invalid("after_sequence", f"{after} is not the sequence of a chunk of this stream") from None
        async with self._reader(place) as reader:
            yield reader

    async def close(self) -> None:
        """Forgets the log, and waits for the task, whose stream was interrupted."""
        if self._task is not None:
            await asyncio.wait([self._task])
        self.release()

    def release(self) -> None:
        """Frees the log."""
        self._stop_timer()
        self._owner.resize(-self._log.cost)
        self._log.cost = 0

    def end(self, error: HeadwaterError) -> None:
        """Ends the round that runs."""
        self.stream.interrupt(error)

    @asynccontextmanager
    async def _reader(self, place: int) -> AsyncIterator[Reader]:
        reader = Reader(self._log, place, self._moved.set)
        self._readers.add(reader)
        self._set_timer()
        try:
            yield reader
        except asyncio.CancelledError:
            error = reader.take_back()
            if error is None:
                raise  # the caller left
            raise error from None
        finally:
            self._readers.discard(reader)
            self._moved.set()
            self._set_timer()

    async def _read(
        self, opening: AbstractAsyncContextManager[LiveStream], opened: asyncio.Future[None], after: int
    ) -> None:
        try:
            async with opening as stream:
                if opened.done():
                    return  # the caller left meanwhile
                await self._follow(stream, opened, after)
        except asyncio.CancelledError:
            # No reader may wait for a round that does not come.
            if self._task is asyncio.current_task() and self._log.stop:
                self._append(expired(self.stream.id, "the caller of this round left before it began"))
            raise
        except Exception as error:  # noqa: BLE001  the callers raise it
            failure = error if isinstance(error, HeadwaterError) else unexpected(error)
            if not opened.done():
                opened.set_exception(failure.again())
            elif not opened.cancelled():
                self._append(_lasting(failure))
        finally:
            if self._round is not None and self._round[1] is opened:
                self._round = None
            if self._task is asyncio.current_task():
                self._task = None
                self._set_timer()

    async def _follow(self, stream: LiveStream, opened: asyncio.Future[None], after: int) -> None:
        """Reads a round to its end. Raises the HeadwaterError with which it ends."""
        self.stream = stream
        stream.on_interrupted = self._moved.set
        self._task = asyncio.current_task()
        if self._log.stop:
            self._log.begin_round(after)
        opened.set_result(None)
        chunk: Chunk | FinalChunk | None = None
        while not isinstance(chunk, FinalChunk):
            chunk = await stream.next()
            size = cost(chunk)
            if self._readers and not self._is_awaited():
                await self._let_readers_come(stream)
            if self._log.cost + size > self._limits.max_bytes or not self._owner.has_room(size):
                await self._make_room(size, stream)
            self._append(chunk)

    def _append(self, entry: Chunk | FinalChunk | HeadwaterError) -> None:
        before = self._log.cost
        self._log.append(entry)
        self._owner.resize(self._log.cost - before)
        for reader in self._readers:
            reader.wake()

    async def _let_readers_come(self, stream: LiveStream) -> None:
        """Waits for a reader, where all are still busy, so they get each chunk by itself: a moment, or until one comes
        where much waits for them already.
        """
        ahead = self._log.cost_from(max(reader.place for reader in self._readers))
        with suppress(TimeoutError):
            async with asyncio.timeout(READ_AHEAD_SECONDS if ahead < READ_AHEAD_BYTES else None):
                while self._readers and not self._is_awaited() and not stream.is_interrupted:
                    self._moved.clear()
                    await self._moved.wait()

    def _is_awaited(self) -> bool:
        """Whether a reader has all that there is, and waits for more."""
        return any(reader.is_waiting for reader in self._readers)

    async def _make_room(self, size: int, stream: LiveStream) -> None:
        """Drops the oldest entries, or waits for the readers that lack them, until there is room or the stream ends."""
        began = self._loop.time()
        while self._log.cost and not stream.is_interrupted:
            if self._log.cost + size <= self._limits.max_bytes and self._owner.has_room(size):
                return
            if all(reader.place > self._log.first for reader in self._readers):
                before = self._log.cost
                self._log.drop_first()
                self._owner.resize(self._log.cost - before)
            else:
                await self._wait_for_readers(began)

    async def _wait_for_readers(self, began: float) -> None:
        """Waits until a reader moves or leaves; lets those go that have held up others for too long, since `began`."""
        self._moved.clear()
        limit = self._limits.lagging_seconds
        try:
            async with asyncio.timeout_at(began + limit if len(self._readers) > 1 else None):
                await self._moved.wait()
        except TimeoutError:
            text = f"this reader held up the others for {limit:g} seconds; resume after the last chunk that came"
            first = self._log.first_sequence
            for reader in [reader for reader in self._readers if reader.place == self._log.first]:
                reader.let_go(expired(self.stream.id, text, first))

    def _set_timer(self) -> None:
        """Ends a stream without a reader, or frees its log, when it is time."""
        self._stop_timer()
        if self._readers:
            return
        if self._task is not None and self._owner.is_draining:
            self.end(draining())
        elif self._task is not None:
            self._timer = self._loop.call_later(self._limits.detach_seconds, self._end_unread)
        elif self._log.stop:
            self._timer = self._loop.call_later(self._limits.retention_seconds, self._owner.forget, self)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end_unread(self) -> None:
        text = f"the stream was ended, because it had no reader for {self._limits.detach_seconds:g} seconds"
        self.end(expired(self.stream.id, text, self._log.first_sequence))


def _lasting(error: HeadwaterError) -> HeadwaterError:
    """The error as an entry of a log, which is kept for long: without the frames, which hold the request."""
    if error.reason is Reason.INTERNAL:
        log.error("fault", **fault_facts(error.__cause__ or error))
    entry = error.again()
    forget_frames(entry)
    return entry


class Reader:
    """A caller's place in a resumable stream, made by `Replay.begin` and `attach`; belongs to the task that made it.

    Args:
        log: of the stream.
        place: of the entry that it gets next.
        on_moved: called when it has taken an entry, and when it waits for the next.
    """

    def __init__(self, log: StreamLog, place: int, on_moved: Callable[[], object]) -> None:
        self.place = place
        self._log = log
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
