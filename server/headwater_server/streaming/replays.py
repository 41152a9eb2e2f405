"""The resumable streams of this process: finds them by their id, bounds their memory, ends them with the server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from enum import Enum

from headwater_server.callers.caller import caller
from headwater_server.domain.errors import HeadwaterError, Reason, draining
from headwater_server.domain.stream_id import is_resumable
from headwater_server.eventlog.stream_log import StreamLog
from headwater_server.streaming.live import LiveStream
from headwater_server.streaming.reader import Reader, expired
from headwater_server.streaming.replay import Replay
from headwater_server.streaming.terms import Continuation, ReplayLimits
from headwater_server.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Attached:
    """A reader, and the stream that it reads."""

    reader: Reader
    stream: LiveStream


class StreamState(Enum):
    """Whether a stream runs, and is read."""

    ATTACHED = "attached"
    DETACHED = "detached"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """How far a stream is, and the sequence of its last chunk; 0 before the first."""

    state: StreamState
    last_sequence: int


class Replays:
    """Owns the logs of resumable streams.

    Args:
        limits: the bounds.
        make_log: makes the log of a stream whose chunks are numbered above this number.
        metrics: count how streams are resumed.

    Attributes:
        size: the memory that all logs hold, in bytes.
        is_draining: whether no caller can come back any more.
    """

    def __init__(
        self, limits: ReplayLimits, make_log: Callable[[int], StreamLog], metrics: Metrics | None = None
    ) -> None:
        self._metrics = metrics or Metrics()
        self._limits = limits
        self._make_log = make_log
        self._replays: dict[str, Replay] = {}
        self.size = 0
        self.is_draining = False

    @asynccontextmanager
    async def open_stream(
        self, opening: AbstractAsyncContextManager[LiveStream], continues: Continuation | None
    ) -> AsyncIterator[Attached]:
        """Opens a stream, or the next round of one, and reads it; it continues when the block is left.

        A round whose log is gone begins a new one. A round that runs already is not begun twice: its caller asks again
        when the line was cut, and a proxy may repeat its call. Raises HeadwaterError.
        """
        after = continues.sequence if continues else 0
        replay = self._replays.get(continues.stream_id) if continues else None
        if replay is not None:
            _check_owner(replay.stream)
        if replay is not None and replay.runs_round(after):
            async with replay.attach(after) as reader:
                yield Attached(reader, replay.stream)
            return
        if replay is None or after < replay.last_sequence:
            replay = Replay(self._make_log(after), self._limits, self)
        async with replay.begin(opening, after) as reader:
            stream = replay.stream
            before = self._replays.pop(stream.id, replay)  # the newest stands last
            if before is not replay:
                before.release()
            self._replays[stream.id] = replay
            yield Attached(reader, stream)

    @asynccontextmanager
    async def resume(self, stream_id: str, after: int) -> AsyncIterator[Attached]:
        """Attaches a reader to a stream after the chunk with this sequence. Raises HeadwaterError."""
        async with AsyncExitStack() as stack:
            try:
                replay = self._find(stream_id)
                reader = await stack.enter_async_context(replay.attach(after))
            except HeadwaterError as error:
                self._metrics.resumed(error.reason.value)
                raise
            self._metrics.resumed("resumed")
            yield Attached(reader, replay.stream)

    def _find(self, stream_id: str) -> Replay:
        """The resumable stream. Raises HeadwaterError."""
        replay = self._replays.get(stream_id)
        if replay is None:
            if is_resumable(stream_id):
                why = "it ended too long ago, its server was restarted, or another server has it; ask again"
                raise expired(stream_id, f"the stream's log is gone: {why}")
            raise _not_found(stream_id)
        _check_owner(replay.stream)
        return replay

    def ended(self) -> list[LiveStream]:
        """The streams that have ended and are kept."""
        return [replay.stream for replay in self._replays.values() if replay.has_ended]

    def facts(self, stream: LiveStream) -> StreamFacts:
        """How far a stream is."""
        replay = self._replays.get(stream.id)
        if replay is None or replay.stream is not stream:
            return StreamFacts(StreamState.ATTACHED, stream.last_sequence)
        if replay.has_ended:
            return StreamFacts(StreamState.ENDED, replay.last_sequence)
        return StreamFacts(StreamState.DETACHED if replay.is_unread else StreamState.ATTACHED, replay.last_sequence)

    def drain(self) -> None:
        """Ends the streams without a reader, now and later: no new connection to this server is possible any more."""
        self.is_draining = True
        for replay in self._replays.values():
            if replay.is_unread:
                replay.end(draining())

    async def close(self) -> None:
        """Waits for the streams, which were interrupted, and frees all logs."""
        await asyncio.gather(*(replay.close() for replay in self._replays.values()))
        self._replays.clear()

    def has_room(self, size: int) -> bool:
        """Whether all logs together can grow by so many bytes; forgets the oldest that have ended for it."""
        while self.size + size > self._limits.max_bytes_in_all:
            oldest = next((replay for replay in self._replays.values() if replay.is_idle), None)
            if oldest is None:
                return False
            self.forget(oldest)
        return True

    def resize(self, change: int) -> None:
        """A log has grown by so many bytes."""
        self.size += change

    def forget(self, replay: Replay) -> None:
        """Frees a log. The next round of its stream may have another one by now, which stays."""
        if self._replays.get(replay.stream.id) is replay:
            del self._replays[replay.stream.id]
        replay.release()


def _check_owner(stream: LiveStream) -> None:
    """Raises HeadwaterError (STREAM_NOT_FOUND) for a stream of another caller."""
    if not caller.get().sees(stream.owner):
        raise _not_found(stream.id)


def _not_found(stream_id: str) -> HeadwaterError:
    cure = "ListStreams with show_ended lists those that were asked for as resumable"
    text = f"no resumable stream has this id; {cure}"
    return HeadwaterError(Reason.STREAM_NOT_FOUND, text, metadata={"stream_id": stream_id[:100]})
