"""Chunks of a reply, and what one does with a stream of them.

Everything here takes any async iterator of `StreamChunk`: a stream of an agent, a mock, or a generator of your own.

`StreamingManager` bounds each wait for a chunk, never the caller's loop body: one `asyncio.timeout_at` a wait, all with
the same deadline. An interruption is the same mechanism with the deadline moved to now, so both end the wait by
cancelling it, and the stream beneath closes its connection as it does on any cancellation.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
import weakref
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from headwater._values.images import Image
from headwater._values.logprobs import TokenLogprob, TopLogprob
from headwater._values.names import all_names_nearest, names_nearest
from headwater._values.validation import finite, int32, invalid, seconds
from headwater._values.validation import text as checked_text
from headwater.exceptions import StreamInterruptedError, StreamTimeoutError

__all__ = [
    "ManagedStream",
    "StreamChunk",
    "StreamInterruptedError",
    "StreamTimeoutError",
    "StreamingManager",
    "StreamingResponse",
    "TokenLogprob",
    "TopLogprob",
    "collect_stream",
    "create_mock_stream",
    "stream_to_string",
]


CANCELLED_WAIT = (
    "the stream ended when the wait for its next chunk was cancelled; to wait for a while and continue, keep the wait: "
    "task = asyncio.ensure_future(anext(stream)), then await asyncio.wait({task}, timeout=...) until the task is done"
)


@dataclass(slots=True)
class StreamChunk:
    """One piece of a reply; `str()` is its text.

    Attributes:
        content: text to append to the reply; may be empty.
        token: the provider's delta as it came; None when several were merged.
        metadata: `sequence` on every chunk of a server; `stream_id`, `model` and `provider` on the first, and
            `attempts`, those that failed before; `event_type`, `thinking`, `thinking_signature`, `redacted_thinking`,
            `refusal`, `tool_call_deltas`, `citations`, `images` and `logprobs` where there are any; on the final one
            all `citations`, `finish_reason`, `provider_finish_reason`, `stop_sequence`, `usage`, `cost` (a decimal
            number as text, exact), `stats`, `tool_calls`, `provider_request_id` and the provider's further facts, as
            far as they are known. Where tools are run: `tool_calls` on the chunk that ends a round, and `tool_results`
            on the one after it (each with `id`, `name`, `content` and `is_error`); on the final chunk `rounds`, what
            each round said at its end, while `usage`, `cost` and `stats` are those of all rounds together, the time
            that the tools took included. A citation has those of `url`, `title`, `quoted_text`, `source_id`,
            `block_index`, `start_index` and `end_index` (the part of that block's text that it supports, in its round)
            and `source_range` (`unit`, `start`, `end`) that the provider gave.
        is_final: the last chunk of a reply that is complete.
        timestamp: when it was made here, in seconds since the epoch.
    """

    content: str
    token: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    is_final: bool = False
    timestamp: float = field(default_factory=time.time)

    @property
    def images(self) -> list[Image]:
        """The pictures that came with this chunk: bytes with their `media_type`, or a `url`."""
        return list(self.metadata.get("images", ()))

    @property
    def logprobs(self) -> list[TokenLogprob]:
        """The tokens that came with this chunk, where the call asks for them with `logprobs=`."""
        return list(self.metadata.get("logprobs", ()))

    def __str__(self) -> str:
        return self.content


@dataclass
class StreamingResponse:
    """A reply that is put together from its chunks.

    Attributes:
        chunks: the chunks, in order.
        metadata: the first chunk's facts, and over them the final chunk's.
        start_time: when this object was made, in seconds since the epoch.
        end_time: when the final chunk was added; None until then.
        total_tokens: all input plus output, from the final chunk's `usage`; None when the provider did not say.
        stream_id: the server's id of the stream; None for a stream of no server.
    """

    chunks: list[StreamChunk] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    start_time: float = field(default_factory=time.time)
    end_time: float | None = None
    total_tokens: int | None = None
    stream_id: str | None = None

    def add_chunk(self, chunk: StreamChunk) -> None:
        """Append a chunk."""
        if not self.chunks or chunk.is_final:
            self.metadata.update(chunk.metadata)
        self.chunks.append(chunk)
        self.stream_id = self.stream_id or chunk.metadata.get("stream_id")
        if chunk.is_final:
            self.end_time = time.time()
            usage = chunk.metadata.get("usage") or {}
            self.total_tokens = usage.get("total_tokens")

    @property
    def complete_text(self) -> str:
        """The text so far."""
        return "".join([chunk.content for chunk in self.chunks])

    @property
    def images(self) -> list[Image]:
        """The pictures of the reply so far."""
        return [image for chunk in self.chunks for image in chunk.images]

    @property
    def logprobs(self) -> list[TokenLogprob]:
        """The tokens of the reply so far, where the call asks for them."""
        return [token for chunk in self.chunks for token in chunk.logprobs]

    @property
    def citations(self) -> list[dict[str, Any]]:
        """The sources that the provider named, known at the end, with the keys that `StreamChunk` lists."""
        return list(self.metadata.get("citations", ()))

    @property
    def duration(self) -> float | None:
        """Seconds from the start to the final chunk; None until then."""
        return None if self.end_time is None else self.end_time - self.start_time

    @property
    def chunk_count(self) -> int:
        """Number of chunks so far."""
        return len(self.chunks)

    def __str__(self) -> str:
        return self.complete_text


@names_nearest
async def collect_stream(stream: AsyncIterable[StreamChunk]) -> StreamingResponse:
    """Read a stream to its end."""
    response = StreamingResponse()
    async for chunk in stream:
        response.add_chunk(chunk)
    return response


@names_nearest
async def stream_to_string(stream: AsyncIterable[StreamChunk]) -> str:
    """Read a stream to its end and return its text."""
    return "".join([chunk.content async for chunk in stream])


@names_nearest
def create_mock_stream(text: str, chunk_size: int = 10, delay: float = 0.1) -> AsyncIterator[StreamChunk]:
    """A stream of a given text, with no server; the last chunk is final.

    Args:
        text: the text of the reply; an empty text is one empty final chunk.
        chunk_size: characters a chunk, at least 1.
        delay: seconds before each chunk.

    Raises:
        ValidationError: for a chunk_size below 1, a negative delay, or a value of another type.
    """
    if int32("chunk_size", chunk_size) < 1:
        raise invalid("chunk_size", "must be at least 1")
    if finite("delay", delay) < 0:
        raise invalid("delay", "must not be negative")
    return _MockStream(checked_text("text", text), chunk_size, delay)


class _MockStream:
    """Pieces of a text, each after a pause. A wait that is cancelled loses nothing."""

    def __init__(self, text: str, size: int, delay: float) -> None:
        self._pieces = [text[start : start + size] for start in range(0, len(text), size)] or [""]
        self._delay = delay
        self._taken = 0

    def __aiter__(self) -> _MockStream:
        return self

    async def __anext__(self) -> StreamChunk:
        if self._taken >= len(self._pieces):
            raise StopAsyncIteration
        await asyncio.sleep(self._delay)
        piece = self._pieces[self._taken]
        self._taken += 1
        return StreamChunk(content=piece, token=piece, is_final=self._taken == len(self._pieces))

    async def aclose(self) -> None:
        """Say no more."""
        self._pieces = []


@all_names_nearest
class StreamingManager:
    """Bounds streams in time and ends them from outside.

    `async with` ends what still runs of its streams on leaving. A manager may be used from several threads.

    Args:
        timeout: seconds that a stream may take from the first wait for a chunk to its end; None for no limit.

    Raises:
        ValidationError: for a timeout that is not a number of seconds above 0.
    """

    def __init__(self, timeout: float | None = None) -> None:
        self.timeout = None if timeout is None else seconds("timeout", timeout)
        self._streams: dict[int, weakref.ref[ManagedStream]] = {}
        self._numbers = itertools.count(1)

    def stream_with_timeout(self, stream: AsyncIterable[StreamChunk]) -> ManagedStream:
        """The same stream, within the limit and under this manager.

        Iterating it raises StreamTimeoutError past the limit and StreamInterruptedError after `interrupt_stream`; both
        carry the text that had arrived.
        """
        number = next(self._numbers)
        managed = ManagedStream(stream, self.timeout, f"local-{number}")
        self._streams[number] = weakref.ref(managed, lambda _: self._streams.pop(number, None))
        return managed

    @property
    def active_streams(self) -> list[str]:
        """Ids of the streams that were handed out and have not ended, oldest first.

        The id is the server's, or one of this manager (`local-1`) for a stream that has none (yet).
        """
        return [stream.stream_id for stream in self._running()]

    def interrupt_stream(self, stream_id: str) -> bool:
        """End a stream: its reader gets StreamInterruptedError with the text that had arrived.

        Args:
            stream_id: the server's id, or the manager's, which stays valid when the server's is known.

        Returns:
            Whether there was such a stream.
        """
        found = [stream for stream in self._running() if stream_id in (stream.local_id, stream.stream_id)]
        for stream in found:
            stream.interrupt()
        return bool(found)

    def _running(self) -> list[ManagedStream]:
        streams = [reference() for reference in list(self._streams.values())]
        return [stream for stream in streams if stream is not None and not stream.ended]

    async def __aenter__(self) -> StreamingManager:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stream in self._running():
            await stream.aclose()


class ManagedStream:
    """A stream under a `StreamingManager`, which makes it."""

    def __init__(self, stream: AsyncIterable[StreamChunk], timeout: float | None, local_id: str) -> None:
        self.local_id = local_id
        self.ended = False
        self._cut = False  # a wait for a chunk was cancelled
        self._stream = stream
        self._iterator = aiter(stream)
        self._timeout = timeout
        self._deadline: float | None = None
        self._parts: list[str] = []
        self._interrupted = False
        # An interruption from another thread must see these together.
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wait: asyncio.Timeout | None = None

    @property
    def stream_id(self) -> str:
        """The server's id of the stream, or the manager's for a stream that has none (yet)."""
        return getattr(self._stream, "stream_id", None) or self.local_id

    def interrupt(self) -> None:
        """End the stream with StreamInterruptedError, now or at the next wait for a chunk; from any thread."""
        with self._lock:
            self._interrupted = True
            loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # that loop was closed meanwhile, and the wait with it
                loop.call_soon_threadsafe(self._expire_wait)

    def _expire_wait(self) -> None:
        if self._wait is not None and not self._wait.expired():
            self._wait.reschedule(asyncio.get_running_loop().time())

    def __aiter__(self) -> ManagedStream:
        return self

    async def __anext__(self) -> StreamChunk:
        if self._cut:
            raise StreamInterruptedError(CANCELLED_WAIT, "".join(self._parts))
        if self.ended:
            raise StopAsyncIteration
        try:
            chunk = await self._next()
        except asyncio.CancelledError:
            self.ended = self._cut = True
            raise
        except BaseException:
            self.ended = True
            raise
        self._parts.append(chunk.content)
        return chunk

    async def _next(self) -> StreamChunk:
        loop = asyncio.get_running_loop()
        if self._deadline is None and self._timeout is not None:
            self._deadline = loop.time() + self._timeout
        wait = asyncio.timeout_at(self._deadline)
        try:
            async with wait:
                with self._lock:
                    self._loop, self._wait = loop, wait
                    over = self._interrupted or (self._deadline is not None and loop.time() >= self._deadline)
                if not over:
                    return await anext(self._iterator)
        except TimeoutError:
            if not wait.expired():  # the stream's own
                raise
        finally:
            with self._lock:
                self._loop = self._wait = None
        await self._close_source()
        text = "".join(self._parts)
        if self._interrupted:
            raise StreamInterruptedError("the stream was interrupted", text)
        raise StreamTimeoutError(f"the stream took longer than {self._timeout:g} seconds", text)

    async def aclose(self) -> None:
        """End the stream."""
        self.ended = True
        await self._close_source()

    async def _close_source(self) -> None:
        close = getattr(self._iterator, "aclose", None)
        if close is not None:
            await close()
