"""A resumable stream: read into a log, from which any number of callers read, whether a caller is there or not.

Theory of operation. A reader is a place in the log (`eventlog.stream_log`). Its call may end at any moment, for a
server sees the same when a caller cancels, dies or loses its line: the reader only leaves. Another call attaches a new
reader at the sequence that its caller has.

A reader that has all that there is reads the provider itself and appends the chunk to the log, so at normal pace a
chunk passes in one step of one task, as it does without a log (docs/adr/0007). One task reads at a time, and the others
wait for it. When it is cancelled nothing is lost, and another one reads on. A task of the server, the keeper, has the
stream open. It reads the first chunk, for a request that is cancelled before its answer is lost. It reads on when there
is no reader, and when all are busy.

These bound it:
- The provider is read at the pace of the fastest reader. Where all are busy, the keeper comes after READ_AHEAD_SECONDS,
  but not where they lack READ_AHEAD_BYTES already: many readers that have stopped take little memory.
- The log has a size. When it is full the oldest entry goes, if no reader lacks it. Else the next one waits, and TCP
  slows the provider down. Of several readers, those that hold up the others for `lagging_seconds` are let go.
- A stream without any reader is read for `detach_seconds`, then ended.
- The log is kept for `retention_seconds` after the stream's end. Between two rounds of tools that time runs too.

Example. A caller has chunks 1 to 40 when its line is cut. The keeper reads 41 to 55. ResumeStream after 40 attaches a
reader at chunk 41: it gets 41 to 55 merged into one chunk, for they wait together, then it reads the rest itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import structlog

from headwater_server.domain.chunks import Chunk, FinalChunk
from headwater_server.domain.errors import HeadwaterError, Reason, draining, invalid
from headwater_server.eventlog.stream_log import ExpiredError, StreamLog, cost
from headwater_server.streaming.answerer import Timeouts
from headwater_server.streaming.failures import unexpected
from headwater_server.streaming.live import LiveStream
from headwater_server.streaming.reader import Reader
from headwater_server.streaming.times.watchdog import Watchdog
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
        log: keeps its chunks; empty.
        limits: its bounds.
        owner: has all of them.

    Attributes:
        stream: the round that runs, or that ran last.
    """

    def __init__(self, log: StreamLog, limits: ReplayLimits, owner: Owner) -> None:
        self.stream: LiveStream
        self._limits = limits
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._log = log
        self._readers: set[Reader] = set()
        self._task: asyncio.Task[None] | None = None
        self._round: tuple[int, asyncio.Future[None]] | None = None  # the one that runs: where it begins, when it has
        self._timer: asyncio.TimerHandle | None = None
        self._moved = asyncio.Event()  # a reader has taken an entry, or has left
        self._is_open = False  # a round runs, and its end has not come
        self._is_read = False  # by a task that waits for the next chunk
        self._taken: Chunk | FinalChunk | None = None  # the chunk for which there is no room yet
        self._full_since: float | None = None
        self._failure: Exception | None = None
        self._needed = asyncio.Event()  # the keeper must look whether it is to read
        self._unread: Watchdog | None = None

    @property
    def is_idle(self) -> bool:
        """Whether it has ended, and has no reader."""
        return self._task is None and not self._readers

    @property
    def has_ended(self) -> bool:
        """Whether no round runs."""
        return self._task is None

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
            text = f"the chunks after {after} are not all kept any more; resume after {first - 1} for those that are"
            raise expired(self.stream.id, text, first) from None
        except ValueError:
            text = f"{after} is not the sequence of a chunk of this stream; its last is {self.last_sequence}"
            raise invalid("after_sequence", text) from None
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
        reader = Reader(self._log, place, self, self._moved.set)
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
                self._is_open = False
                self._taken = None
                self._set_timer()

    async def _follow(self, stream: LiveStream, opened: asyncio.Future[None], after: int) -> None:
        """Keeps a round to its end. Raises the HeadwaterError with which it ends."""
        self.stream = stream
        stream.on_interrupted = self._look
        self._task = asyncio.current_task()
        if self._log.stop:
            self._log.begin_round(after)
        opened.set_result(None)
        self._is_open = True
        await self.pull()
        while self._is_open:
            if self._is_read or (self._readers and not stream.is_interrupted):
                await self._wait_for_turn()
            if self._is_open and not (self._is_read or self._is_far_ahead()):
                await self.pull()
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    async def _wait_for_turn(self) -> None:
        """Waits until no reader reads the provider: there is none, or all were busy for READ_AHEAD_SECONDS."""
        self._needed.clear()
        self._unread = _busy_watch(self._needed.set)
        self._unread.since = None if self._is_read else self._loop.time()
        try:
            await self._needed.wait()
        finally:
            self._unread.stop()
            self._unread = None

    def _is_far_ahead(self) -> bool:
        """Whether even the fastest reader lacks much already."""
        if not self._readers or self.stream.is_interrupted:
            return False
        return self._log.cost_from(max(reader.place for reader in self._readers)) >= READ_AHEAD_BYTES

    def _look(self) -> None:
        self._moved.set()
        self._needed.set()

    @property
    def can_pull(self) -> bool:
        """Whether the provider is to be read, and no task does it."""
        return self._is_open and not self._is_read

    async def pull(self) -> None:
        """Appends the provider's next chunk. A task that is cancelled meanwhile loses nothing."""
        self._is_read = True
        if self._unread is not None:
            self._unread.since = None
        try:
            chunk = self._taken = self._taken or await self.stream.next()
            size = cost(chunk)
            if self._log.cost + size > self._limits.max_bytes or not self._owner.has_room(size):
                await self._make_room(size)
            self._taken = None
            self._append(chunk)
            if isinstance(chunk, FinalChunk):
                self._end_round()
        except asyncio.CancelledError:
            self._needed.set()
            self._wake_readers()
            raise
        except Exception as error:  # noqa: BLE001  the keeper raises it
            self._failure = error
            self._end_round()
        finally:
            self._is_read = False
            if self._unread is not None:
                self._unread.since = self._loop.time()

    def _end_round(self) -> None:
        self._is_open = False
        self._needed.set()

    def _append(self, entry: Chunk | FinalChunk | HeadwaterError) -> None:
        before = self._log.cost
        self._log.append(entry)
        self._owner.resize(self._log.cost - before)
        self._wake_readers()

    def _wake_readers(self) -> None:
        for reader in self._readers:
            reader.wake()

    async def _make_room(self, size: int) -> None:
        """Drops the oldest entries, or waits for the readers that lack them, until there is room or the stream ends."""
        began = self._full_since = self._full_since or self._loop.time()
        while self._log.cost and not self.stream.is_interrupted:
            if self._log.cost + size <= self._limits.max_bytes and self._owner.has_room(size):
                break
            if all(reader.place > self._log.first for reader in self._readers):
                before = self._log.cost
                self._log.drop_first()
                self._owner.resize(self._log.cost - before)
            else:
                await self._wait_for_readers(began)
        self._full_since = None

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
        self._needed.set()
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


def _busy_watch(on_busy: Callable[[], object]) -> Watchdog:
    """Calls it when the provider was not read for READ_AHEAD_SECONDS."""
    watch = Watchdog(lambda: 0.0, lambda *_: on_busy())
    watch.begin(Timeouts(next_chunk_seconds=READ_AHEAD_SECONDS, max_silence_seconds=READ_AHEAD_SECONDS))
    return watch


def _lasting(error: HeadwaterError) -> HeadwaterError:
    """The error as an entry of a log, which is kept for long: without the frames, which hold the request."""
    if error.reason is Reason.INTERNAL:
        log.error("fault", **fault_facts(error.__cause__ or error))
    entry = error.again()
    forget_frames(entry)
    return entry
