"""A resumable stream: read into a log, from which any number of callers read, whether a caller is there or not.

Theory of operation. A reader is a place in the log (`eventlog.stream_log`). Its call may end at any moment, for a
server sees the same when a caller cancels, dies or loses its line: the reader only leaves. Another call attaches a new
reader at the sequence that its caller has.

A task of the server, the keeper, has the stream open, and sleeps from its first chunk to its end. Each chunk goes into
the log and to the readers in the callback in which it comes (`intake`). A reader whose caller is slow stays at its
place, and gets the chunks that it missed as one later; the others are not held up.

These bound it:
- The provider is read at the pace of the fastest reader. Where all are busy, a little is read ahead: many readers that
  have stopped take little memory.
- The log has a size. When it is full the oldest entry goes, if no reader lacks it. Else the next one waits, and TCP
  slows the provider down. Of several readers, those that hold up the others are let go.
- A stream without any reader is read for `detach_seconds`, then ended.
- The log is kept for `retention_seconds` after the stream's end. Between two rounds of tools that time runs too.

Example. A caller has chunks 1 to 40 when its line is cut. 41 to 55 go into the log. ResumeStream after 40 attaches a
reader at chunk 41: it gets 41 to 55 merged into one chunk, for they wait together, then each chunk as it comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

import structlog

from headwater_server.domain.chunks import Chunk, FinalChunk
from headwater_server.domain.errors import HeadwaterError, Reason, draining, invalid
from headwater_server.eventlog.stream_log import ExpiredError, StreamLog
from headwater_server.streaming.failures import unexpected
from headwater_server.streaming.intake import Intake, Room
from headwater_server.streaming.live import LiveStream
from headwater_server.streaming.reader import Reader, expired
from headwater_server.streaming.terms import ReplayLimits
from headwater_server.telemetry.background import in_background
from headwater_server.telemetry.frames import forget_frames
from headwater_server.telemetry.logging import fault_facts

log = structlog.get_logger("headwater")


class Owner(Room, Protocol):
    """The side of `Replays` that a stream sees."""

    is_draining: bool

    def forget(self, replay: Replay) -> None:
        """A log need not be kept any longer."""
        ...


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
        self._intake: Intake | None = None  # of the round that runs, until its end has come

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
        reader = Reader(self._log, place, self)
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
            self._set_timer()
            self.flow()

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
        """Keeps a round to its end. Raises the error with which it ends."""
        self.stream = stream
        self._task = asyncio.current_task()
        if self._log.stop:
            self._log.begin_round(after)
        opened.set_result(None)
        first = await stream.next()
        self._intake = Intake(stream, first, self._log, self._append, self._readers, self._limits, self._owner)
        try:
            await self._intake.run()
        finally:
            self._intake = None

    def flow(self) -> None:
        """See Upstream."""
        if self._intake is not None:
            self._intake.flow()

    def moved(self) -> None:
        """See Upstream."""
        if self._intake is not None:
            self._intake.moved()

    def _append(self, entry: Chunk | FinalChunk | HeadwaterError) -> None:
        before = self._log.cost
        self._log.append(entry)
        self._owner.resize(self._log.cost - before)
        for reader in self._readers:
            reader.wake()

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
