"""The streams that run in this process: opens, lists, cancels and drains them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from heapq import nsmallest
from operator import attrgetter
from typing import NamedTuple

from headwater_server.callers.caller import caller
from headwater_server.domain.errors import HeadwaterError, Reason, draining, invalid, overloaded
from headwater_server.domain.stream_id import new_stream_id
from headwater_server.streaming.answerer import Answerer
from headwater_server.streaming.live import LiveStream
from headwater_server.streaming.source import Source
from headwater_server.streaming.terms import NO_TERMS, Continuation, StreamTerms
from headwater_server.telemetry.audit import audit
from headwater_server.telemetry.metrics import Metrics

MAX_PROCESSES = 64
MAX_STREAMS = 10_000


def list_position(created_us: int, index: int) -> int:
    """The position of a stream in the list of all processes: by age, and between two of the same age by process.

    Args:
        created_us: when it was accepted, in microseconds since the epoch; no two streams of a process have the same.
        index: of the process that has it.
    """
    return created_us * MAX_PROCESSES + index


class _Entry(NamedTuple):
    """A running stream, and the position it has in the list."""

    position: int
    stream: LiveStream


class RunningStreams:
    """Owns every running stream of this process.

    Args:
        index: which of the server's processes this is.
        max_streams: how many may run at once.
        metrics: count them.
    """

    def __init__(self, index: int = 0, max_streams: int = MAX_STREAMS, metrics: Metrics | None = None) -> None:
        self._metrics = metrics or Metrics()
        self._max_streams = max_streams
        self._index = index
        self._streams: dict[str, _Entry] = {}
        self._last_created_us = 0
        self._finishing: set[asyncio.Task[None]] = set()
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()

    def __len__(self) -> int:
        return len(self._streams)

    async def begin(
        self,
        answerer: Answerer,
        source: Source,
        continues: Continuation | None = None,
        terms: StreamTerms = NO_TERMS,
    ) -> LiveStream:
        """A new stream, or the next round of one, for the task that reads it until it has begun.

        The caller must `end` it, which closes all that it holds.
        The source is closed where it does not begin. Raises HeadwaterError: SERVER_DRAINING when the server takes no
        new work, SERVER_OVERLOADED when as many run as may, INVALID_REQUEST when the round before still runs,
        STREAM_NOT_FOUND when that is another caller's.
        """
        try:
            self._check(continues)
        except HeadwaterError:
            await source.aclose()
            raise
        if (start := getattr(source, "start", None)) is not None:
            start()  # the provider works while the rest is made
        after = continues.sequence if continues else 0
        stream_id = continues.stream_id if continues else new_stream_id(self._index, resumable=terms.resumable)
        stream = LiveStream(stream_id, answerer, source, after, terms)
        if not self._streams:
            self._idle.clear()
        self._streams[stream_id] = _Entry(self._place_in_list(stream), stream)
        self._metrics.stream_started(stream)
        return stream

    def _check(self, continues: Continuation | None) -> None:
        """Raises HeadwaterError when a stream cannot begin."""
        if self._draining:
            raise draining()
        if len(self._streams) >= self._max_streams:
            text = f"{self._max_streams} streams run here, as many as max_streams allows; try again later, or raise it"
            raise overloaded(text, limit="max_streams")
        if continues and continues.stream_id in self._streams:
            self._entry_of(continues.stream_id)
            raise invalid("continues_stream_id", "is the id of a stream that still runs; read it to its end first")

    async def end(self, stream: LiveStream) -> None:
        """Closes a stream."""
        self._metrics.stream_ended(stream)
        if (span := stream.answerer.span) is not None:
            span.end(stream.id, stream.outcome, stream.first_token_seconds)
        try:
            if finishing := await stream.close():
                self._finishing.add(finishing)
                finishing.add_done_callback(self._finishing.discard)
        finally:
            del self._streams[stream.id]
            if not self._streams:
                self._idle.set()

    def _place_in_list(self, stream: LiveStream) -> int:
        created_us = max(int(stream.created * 1e6), self._last_created_us + 1)  # the clock may be set back
        self._last_created_us = created_us
        # The middle of the microsecond: cutting off the fraction gives the number exactly, rounding errors or not.
        stream.created = (created_us + 0.5) / 1e6
        return created_us * MAX_PROCESSES + self._index  # as `list_position`

    def cancel_stream(self, stream_id: str) -> None:
        """Ends a stream for its caller. Raises HeadwaterError (STREAM_NOT_FOUND)."""
        stream = self._entry_of(stream_id).stream
        ended = HeadwaterError(Reason.STREAM_CANCELLED, "the stream was ended by CancelStream")
        if stream.interrupt(ended) and stream.owner != caller.get().name:
            audit("stream_cancelled", stream_id=stream.id, of=stream.owner)

    def _entry_of(self, stream_id: str) -> _Entry:
        """The stream with this id that is there for the caller. Raises HeadwaterError (STREAM_NOT_FOUND)."""
        entry = self._streams.get(stream_id)
        if entry is None or not caller.get().sees(entry.stream.owner):
            raise HeadwaterError(
                Reason.STREAM_NOT_FOUND,
                "no stream with this id is running; it may have ended, ListStreams lists those that run",
                metadata={"stream_id": stream_id[:100]},
            )
        return entry

    def page(self, after: int, size: int, ended: Iterable[LiveStream] = ()) -> tuple[list[LiveStream], int]:
        """The running streams of the caller after the position `after`, oldest first, at most `size` of them; and the
        position of the last one if there are more, else 0.

        Args:
            after: 0 for the first page.
            size: most streams.
            ended: streams of this process that have ended, and are listed too.
        """
        entries = [*self._streams.values(), *(_Entry(self._position(stream), stream) for stream in ended)]
        sees = caller.get().sees
        there = (entry for entry in entries if entry.position > after and sees(entry.stream.owner))
        rest = nsmallest(size + 1, there, key=attrgetter("position"))
        page = rest[:size]
        return [entry.stream for entry in page], page[-1].position if len(rest) > size else 0

    def _position(self, stream: LiveStream) -> int:
        return list_position(int(stream.created * 1e6), self._index)

    async def drain(self, seconds: float) -> None:
        """Takes no new streams, waits up to `seconds` for the running ones, and interrupts those that are left."""
        self._draining = True
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            for stream in [entry.stream for entry in self._streams.values()]:
                cut = HeadwaterError(Reason.STREAM_INTERRUPTED, "the server shut down before the reply was complete")
                stream.interrupt(cut if stream.chunk_count else draining())

    async def close(self) -> None:
        """Waits for the streams that were interrupted, and for the connections that are read to their end."""
        await self._idle.wait()
        if self._finishing:
            await asyncio.wait(self._finishing)
