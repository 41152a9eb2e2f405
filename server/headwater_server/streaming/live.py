"""A stream while it runs: reads the provider, measures, and says exactly once how it ended.

Theory of operation. A task of its own, the pump, reads the provider's events into a merging channel; the RPC takes
chunks out of it. So a caller that reads slowly does not slow the reading of the provider until the channel is full,
and a provider that is slow keeps nobody from noticing that the caller left.

How a stream can end, and who says so:
- the provider finished: the pump puts the final chunk;
- the provider failed, or its answer broke off: the pump puts the error. After the first delta every such failure is
  STREAM_INTERRUPTED, because what the caller has is not the whole reply;
- it was ended from outside (CancelStream, a provider gone quiet, the server's shutdown): `interrupt` puts the error
  and cancels the pump;
- the caller left: the RPC closes the stream, which cancels the pump, and nobody is there to be told.

After the provider's finish the pump reads the rest of the answer, a few bytes, so that the connection can be used
again; the caller does not wait for that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from headwater_server.domain.chunks import Chunk, FinalChunk, Finish, ProviderEvent, StreamStats, Usage
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.streaming.accumulator import ToolCallAccumulator
from headwater_server.streaming.channel import MergingChannel
from headwater_server.streaming.watchdog import Watchdog

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

    def __aiter__(self) -> AsyncIterator[ProviderEvent]: ...

    async def aclose(self) -> None:
        """Ends the reply and frees its connection."""
        ...


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a provider may be silent, in seconds: before its first delta, and between two."""

    first_chunk_seconds: float = 300.0
    next_chunk_seconds: float = 120.0


@dataclass(frozen=True, slots=True)
class Continuation:
    """What a round of tool calls goes on from: the stream's id, and the sequence number of its last chunk."""

    stream_id: str
    sequence: int


class LiveStream:
    """One running stream, with one reader.

    Args:
        stream_id: its id.
        provider: name of the provider that answers.
        model: the model asked for.
        source: the provider's reply, not yet begun.
        timeouts: how long the provider may be silent.
        after: sequence number after which its chunks are numbered; above 0 for a later round of a stream.

    Attributes:
        created: when it was accepted, in seconds since the epoch.
    """

    def __init__(
        self, stream_id: str, provider: str, model: str, source: Source, timeouts: Timeouts, after: int = 0
    ) -> None:
        self.id = stream_id
        self.provider = provider
        self.model = model
        self.created = time.time()
        self._source = source
        self._after = after
        self._channel = MergingChannel(after)
        self._tool_calls = ToolCallAccumulator()
        self._began = time.monotonic()
        self._first: float | None = None
        self._last = self._began
        self._finished = False
        self._thought = False
        self._watchdog = Watchdog(timeouts.first_chunk_seconds, timeouts.next_chunk_seconds, self._silent)
        self._pump: asyncio.Task[None] | None = asyncio.create_task(self._run(), name=f"headwater stream {stream_id}")

    @property
    def chunk_count(self) -> int:
        """Provider deltas so far, of this round."""
        return self._channel.sequence - self._after

    async def next(self) -> Chunk | FinalChunk:
        """The next chunk; the last is a FinalChunk. Raises the HeadwaterError with which the stream ended."""
        return await self._channel.get()

    def interrupt(self, error: HeadwaterError) -> None:
        """Ends the stream from outside; the reader gets what has arrived, then the error."""
        if self._pump is not None and not self._finished:
            self._channel.end(self._about(error))
            self._pump.cancel()

    async def close(self) -> asyncio.Task[None] | None:
        """Frees the stream. A pump that only has to finish reading is returned: it ends by itself, and is the
        caller's to wait for.
        """
        self._watchdog.stop()
        # An error leads back here by its traceback, in the channel and in the pump; without letting go of them a stream
        # that has ended would wait for the garbage collector with all that it holds.
        self._channel.clear()
        pump, self._pump = self._pump, None
        if pump is None or (self._finished and not pump.done()):
            return pump
        pump.cancel()
        await asyncio.wait([pump])
        await self._source.aclose()  # a pump that was cancelled before its first step has closed nothing
        return None

    async def _run(self) -> None:
        try:
            finish = await self._read()
        except HeadwaterError as error:
            self._channel.end(self._interrupted(error))
        except Exception as error:  # noqa: BLE001  the reader raises it, with its cause
            failure = HeadwaterError(Reason.INTERNAL, "Headwater failed while it read the provider's reply")
            failure.__cause__ = error
            self._channel.end(failure)
        else:
            self._finished = True
            self._channel.end(finish)
            await self._finish_reading()
        finally:
            self._watchdog.stop()
            await self._source.aclose()

    async def _read(self) -> FinalChunk:
        channel, watchdog = self._channel, self._watchdog
        async for event in self._source:
            watchdog.seen()
            if isinstance(event, Finish):
                return self._final(event)
            self._last = time.monotonic()
            if self._first is None:
                self._first = self._last
            if event.thinking:
                self._thought = True
            if event.tool_calls:
                self._tool_calls.add(event.tool_calls)
                if self._tool_calls.size > MAX_TOOL_CALL_CHARACTERS:
                    raise HeadwaterError(Reason.REPLY_TOO_LARGE, "the reply's tool calls are over 3 MiB")
            channel.put(event)
            if channel.full:
                watchdog.pause()
                await channel.space()
                watchdog.resume()
        raise HeadwaterError(Reason.PROVIDER_UNAVAILABLE, "the provider's reply broke off before its end")

    async def _finish_reading(self) -> None:
        try:
            async with asyncio.timeout(FINISH_READING_SECONDS):
                async for _ in self._source:
                    pass
        except (TimeoutError, HeadwaterError):
            pass  # the reply was whole; only the connection is not worth keeping

    def _final(self, finish: Finish) -> FinalChunk:
        now = time.monotonic()
        stats = StreamStats(
            time_to_first_token_seconds=None if self._first is None else self._first - self._began,
            duration_seconds=now - self._began,
            chunk_count=self.chunk_count,
            tokens_per_second=self._tokens_per_second(finish.usage),
        )
        calls = self._tool_calls.complete()
        return FinalChunk(self._channel.sequence + 1, time.time(), finish, stats, calls, self._source.request_id)

    def _tokens_per_second(self, usage: Usage | None) -> float | None:
        """The pace of the writing: from the first delta to the last, without thinking that nobody saw."""
        if usage is None or usage.output_tokens is None or self._first is None:
            return None
        hidden = 0 if self._thought else usage.reasoning_tokens or 0
        tokens, seconds = usage.output_tokens - hidden, self._last - self._first
        return (tokens - 1) / seconds if tokens > 1 and seconds >= SHORTEST_PACE_SECONDS else None

    def _silent(self, limit: float) -> None:
        which = "first" if self._first is None else "next"
        self.interrupt(
            HeadwaterError(Reason.STREAM_TIMEOUT, f"the provider sent no {which} chunk within {limit:g} seconds")
        )

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
            provider=self.provider,
            model=self.model,
            stream_id=self.id,
            provider_request_id=self._source.request_id,
        )
