"""A stream while it runs: reads the provider when its caller wants more, measures, and says once how it ended.

Theory of operation. One task does it all: the task that asks for the next chunk reads the provider, if no chunk is
there already. So a chunk passes from the provider's connection to the caller's in one step of one task. While the
caller is slow nothing is read: the provider's bytes wait in the connection's buffers, and TCP slows the provider down
when they are full. Afterwards all that has arrived is read at once, and merged.

A stream can end in four ways:
- the provider finished: its Finish becomes the final chunk;
- the provider failed, or its answer broke off. After the first delta every such failure is STREAM_INTERRUPTED, because
  the caller does not have the whole reply;
- it was ended from outside (CancelStream, a silent provider, the server's shutdown): `interrupt` notes the error and
  wakes the reading task with a cancellation, which that task takes back (`Task.uncancel`, as asyncio.timeout does);
- the caller left: the RPC closes the stream, and no end is reported.

After the provider's finish a separate task reads the rest of the answer, a few bytes, so that the connection can be
used again; the caller does not wait for that.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from headwater_server.domain.chunks import (
    Chunk,
    FinalChunk,
    Finish,
    FinishReason,
    Pace,
    ProviderEvent,
    StreamStats,
    Usage,
)
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.streaming.accumulator import MessageAccumulator, ToolCallAccumulator
from headwater_server.streaming.answerer import Answerer
from headwater_server.streaming.merging import merge
from headwater_server.streaming.watchdog import Watchdog, passed

FINISH_READING_SECONDS = 1.0
SHORTEST_PACE_SECONDS = 0.05  # below it a pace says more about buffers than about the model
MAX_TOOL_CALL_CHARACTERS = 3 * 1024 * 1024  # the final chunk has all calls in one message

_INTERRUPTIONS = frozenset(Reason) - {
    Reason.STREAM_INTERRUPTED,
    Reason.STREAM_TIMEOUT,
    Reason.STREAM_CANCELLED,
    Reason.REPLY_TOO_LARGE,
    Reason.INTERNAL,
}


class Source(Protocol):
    """A provider's reply under way."""

    @property
    def request_id(self) -> str:
        """The provider's id of the request, once known."""
        ...

    @property
    def heard(self) -> float:
        """The loop's time at which the provider last sent something that is no event, such as a ping; 0 for never."""
        ...

    async def read(self) -> Sequence[ProviderEvent]:
        """The next events, those that came together; empty at the end of the reply. Raises HeadwaterError."""
        ...

    async def aclose(self) -> None:
        """Ends the reply and frees its connection."""
        ...


@dataclass(frozen=True, slots=True)
class Continuation:
    """The point from which a round of tool calls continues: the stream's id, and the sequence of its last chunk."""

    stream_id: str
    sequence: int


@dataclass(frozen=True, slots=True)
class StreamTerms:
    """The facts of a stream that are known before it runs.

    Attributes:
        collects: whether the reply is collected from its start, because it may end in tool calls or is wanted whole.
        labels: the caller's labels.
        resumable: whether a caller can resume it; its id says so.
        owner: name of the caller that it belongs to; see `callers.caller`.
    """

    collects: bool = False
    resumable: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    owner: str = ""


NO_TERMS = StreamTerms()


class LiveStream:
    """One running stream, with one reader.

    Args:
        stream_id: its id.
        answerer: provider and model, settled when the source gives its first events.
        source: the provider's reply, not yet begun. It bounds the wait for its first events.
        after: sequence number after which its chunks are numbered; above 0 for a later round of a stream.
        terms: further facts.

    Attributes:
        created: when it was accepted, in seconds since the epoch.
        on_interrupted: called when it is ended from outside.
    """

    def __init__(
        self,
        stream_id: str,
        answerer: Answerer,
        source: Source,
        after: int = 0,
        terms: StreamTerms = NO_TERMS,
    ) -> None:
        self.id = stream_id
        self.answerer = answerer
        self.labels = terms.labels
        self.resumable = terms.resumable
        self.owner = terms.owner
        self.on_interrupted: Callable[[], object] | None = None
        self.created = time.time()
        self._source = source
        self._after = after
        self._sequence = after
        self._waiting: deque[Chunk] = deque()
        self._end: FinalChunk | HeadwaterError | None = None
        self._tool_calls = ToolCallAccumulator(answerer)
        self._message = MessageAccumulator(answerer, from_start=terms.collects)
        self._began = time.monotonic()
        self._first: float | None = None
        self._last = self._began
        self._longest_gap = 0.0
        self._thought = False
        self._loop = asyncio.get_running_loop()
        self._heard = 0.0
        self._watchdog = Watchdog(self._last_heard, self._pass)
        total = answerer.timeouts.total_seconds
        self._total = self._loop.call_later(total, self._pass, "total", total)
        self._reader: asyncio.Task[object] | None = None
        self._closing: asyncio.Task[None] | None = None

    @property
    def chunk_count(self) -> int:
        """Provider deltas so far, of this round."""
        return self._sequence - self._after

    @property
    def last_sequence(self) -> int:
        """Sequence number of the last delta so far."""
        return self._sequence

    @property
    def first_token_seconds(self) -> float | None:
        """How long its caller waited for the first delta; None before it."""
        return None if self._first is None else self._first - self._began

    @property
    def pace(self) -> Pace | None:
        """The gaps between its deltas; None before the second."""
        if self._first is None or self.chunk_count < 2:
            return None
        return Pace((self._last - self._first) / (self.chunk_count - 1), self._longest_gap)

    @property
    def outcome(self) -> FinalChunk | HeadwaterError | None:
        """The end of the reply; None before it, and once the stream is closed."""
        return self._end

    @property
    def is_interrupted(self) -> bool:
        """Whether it was ended from outside, or failed."""
        return isinstance(self._end, HeadwaterError)

    async def next(self) -> Chunk | FinalChunk:
        """The next chunk; the last is a FinalChunk. Raises the HeadwaterError with which the stream ended."""
        if self._waiting:
            return self._waiting.popleft()
        self._reader = asyncio.current_task()
        if self._watchdog.since is None:
            self._watchdog.since = self._loop.time()
        while not self._waiting:
            if self._end is not None:
                self._watchdog.since = None
                if isinstance(self._end, HeadwaterError):
                    raise self._end
                return self._end
            try:
                self._take(await self._source.read())
            except asyncio.CancelledError:
                if not self._woken():
                    self._reader = None  # it left; where another task reads on, the provider was silent all the time
                    raise
            except Exception as error:  # noqa: BLE001  the reader raises it, with its cause
                self._fail(error)
        self._watchdog.since = None
        return self._waiting.popleft()

    def interrupt(self, error: HeadwaterError) -> None:
        """Ends the stream from outside; the reader gets what has arrived, then the error."""
        if self._end is not None:
            return
        self._end = self._about(error)
        if self.on_interrupted is not None:
            self.on_interrupted()
        if self._watchdog.since is not None and self._reader is not None:
            self._reader.cancel()
        elif self._closing is None:  # the caller is busy with a chunk, perhaps for long: the provider need not wait
            self._closing = asyncio.create_task(self._source.aclose())

    async def close(self) -> asyncio.Task[None] | None:
        """Frees the stream. Returns the task that finishes reading the answer, if there is one: it ends by itself, and
        the caller must wait for it.
        """
        self._watchdog.stop()
        self._total.cancel()
        finished = isinstance(self._end, FinalChunk)
        # The traceback of an error refers to this stream. While the stream refers to the error too, only the garbage
        # collector can free them and all that they hold.
        self._waiting.clear()
        self._end = None
        source = self._source
        try:
            if self._closing is not None:
                await self._closing
            elif finished:
                return asyncio.create_task(_finish_reading(source))
            else:
                await source.aclose()
        finally:
            # The log of a resumable stream keeps the stream. The request, which the source has, is not kept so long.
            del self._source, self._message, self._tool_calls
        return None

    def _take(self, events: Sequence[ProviderEvent]) -> None:
        if not events:
            raise HeadwaterError(Reason.PROVIDER_UNAVAILABLE, "the provider's reply broke off before its end")
        finish = None
        deltas = []
        for event in events:
            if isinstance(event, Finish):
                finish = event
                break
            if event.thinking:
                self._thought = True
            if event.tool_calls:
                self._tool_calls.add(event.tool_calls)
            if self._message.collecting or event.tool_calls:
                self._message.add(event)
            if event.provider_data is None or event.says_something():
                deltas.append(event)
        if deltas:
            now = time.monotonic()
            if self._first is None:
                self._first = now
                self._watchdog.begin(self.answerer.timeouts)
            elif now - self._last > self._longest_gap:
                self._longest_gap = now - self._last
            self._last = now
            chunks = merge(deltas, self._sequence, time.time())
            self._waiting.extend(chunks)
            self._sequence = chunks[-1].sequence
        else:
            self._heard = self._loop.time()
        if self._tool_calls.size > MAX_TOOL_CALL_CHARACTERS:
            raise HeadwaterError(Reason.REPLY_TOO_LARGE, "the reply's tool calls are over 3 MiB")
        if finish is not None and self._end is None:
            self._end = self._final(finish)

    def _fail(self, error: Exception) -> None:
        """Ends the stream with the error, unless it was ended before."""
        failure = error if isinstance(error, HeadwaterError) else unexpected(error)
        if self._end is None:
            self._end = self._interrupted(failure)

    def _woken(self) -> bool:
        """Whether the cancellation of the reading task was `interrupt`'s alone, and is taken back."""
        return self._end is not None and self._reader is not None and not self._reader.uncancel()

    def _final(self, finish: Finish) -> FinalChunk:
        now = time.monotonic()
        stats = StreamStats(
            time_to_first_token_seconds=self.first_token_seconds,
            duration_seconds=now - self._began,
            chunk_count=self.chunk_count,
            tokens_per_second=self._tokens_per_second(finish.usage),
        )
        calls = self._tool_calls.complete()
        if finish.reason is FinishReason.TOOL_CALLS and calls and self._message.overflowed:
            raise HeadwaterError(Reason.REPLY_TOO_LARGE, "the reply before its tool calls is over 3 MiB")
        message = self._message.complete(calls)
        cost, request_id = self.answerer.cost(finish.usage), self._source.request_id
        return FinalChunk(self._sequence + 1, time.time(), finish, stats, calls, request_id, message, cost)

    def _tokens_per_second(self, usage: Usage | None) -> float | None:
        """The pace of the writing: from the first delta to the last, without thinking that was not streamed."""
        if usage is None or usage.output_tokens is None or self._first is None:
            return None
        hidden = 0 if self._thought else usage.reasoning_tokens or 0
        tokens, seconds = usage.output_tokens - hidden, self._last - self._first
        return (tokens - 1) / seconds if tokens > 1 and seconds >= SHORTEST_PACE_SECONDS else None

    def _last_heard(self) -> float:
        """The loop's time of the provider's last sign of life that was no delta."""
        return max(self._heard, self._source.heard)

    def _pass(self, limit: str, seconds: float) -> None:
        """A limit was passed."""
        self.interrupt(passed(limit, seconds))

    def _interrupted(self, error: HeadwaterError) -> HeadwaterError:
        self._about(error)
        if self.chunk_count and error.reason in _INTERRUPTIONS:
            error = HeadwaterError(
                Reason.STREAM_INTERRUPTED,
                f"the reply was cut after {self.chunk_count} chunks: {error.message}",
                metadata={**error.metadata, "cause": error.reason},
            )
        return error

    def _about(self, error: HeadwaterError) -> HeadwaterError:
        return error.about(
            provider=self.answerer.provider,
            model=self.answerer.model,
            stream_id=self.id,
            provider_request_id=self._source.request_id,
        )


def unexpected(error: Exception) -> HeadwaterError:
    """The error for the callers of a stream that a fault of Headwater has ended."""
    failure = HeadwaterError(Reason.INTERNAL, "Headwater failed while it read the provider's reply")
    failure.__cause__ = error
    return failure


async def _finish_reading(source: Source) -> None:
    try:
        async with asyncio.timeout(FINISH_READING_SECONDS):
            while await source.read():
                pass
    except (TimeoutError, HeadwaterError):
        pass  # the reply was whole; only the connection is not worth keeping
    finally:
        await source.aclose()
