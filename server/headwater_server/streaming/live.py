"""A stream while it runs: takes the provider's events as they come, measures, and says once how it ended.

Theory of operation. The stream is the receiver of its source (`source`). It holds the events that come, and wakes a
reader that waits. A reader that is busy with a chunk takes all that is held when it asks again, merged. The source
bounds how much is held: past that the provider's bytes wait in its socket, and TCP slows it down. The first events are
awaited, for several models may be asked in turn until one answers. A reader that takes chunks at once gets them within
the callback instead (`push`).

A stream can end in four ways:
- the provider finished: its Finish becomes the final chunk;
- the provider failed, or its answer broke off. After the first delta every such failure is STREAM_INTERRUPTED, because
  the caller does not have the whole reply;
- it was ended from outside (CancelStream, a silent provider, the server's shutdown): `interrupt` notes the error,
  closes the source and wakes the reader;
- the caller left: the RPC closes the stream, and no end is reported.

After the provider's finish the rest of the answer, a few bytes, still comes, so that the connection can be used again;
the caller does not wait for that.

Example. Deltas 6 and 7 come while the reader writes chunk 5: `arrived` holds them, and `next` merges them into chunk 7
at once. The reader writes it and asks again: nothing is held, so it waits, and delta 8 wakes it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from headwater_server.domain.chunks import Chunk, Delta, FinalChunk, Finish, FinishReason, Pace, ProviderEvent
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.streaming.accumulator import MessageAccumulator, ToolCallAccumulator
from headwater_server.streaming.answerer import Answerer
from headwater_server.streaming.failures import broken_off, cut_after, unexpected
from headwater_server.streaming.merging import MAX_DELTA_CHARACTERS, merge
from headwater_server.streaming.source import Source
from headwater_server.streaming.terms import NO_TERMS, StreamTerms
from headwater_server.streaming.times.measures import Measures
from headwater_server.streaming.times.watchdog import Watchdog, passed

FINISH_READING_SECONDS = 1.0
MAX_TOOL_CALL_CHARACTERS = 3 * 1024 * 1024  # the final chunk has all calls in one message


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
        on_cut: called with the error that ends it from outside, also where its end has come and is not read yet.
        on_arrived: called when there is something to take, instead of waking `next`; says whether all was taken.
        give: takes a chunk in the callback in which its delta comes; None: there is no reader, or another waits before.
    """

    __slots__ = (  # a dict of so many attributes would take 1.7 KB
        "__weakref__",
        "_after",
        "_closing",
        "_end",
        "_failure",
        "_heard",
        "_held",
        "_is_closed",
        "_is_cut",
        "_is_followed",
        "_is_over",
        "_loop",
        "_measures",
        "_message",
        "_opening",
        "_sequence",
        "_source",
        "_tool_calls",
        "_waiter",
        "_waiting",
        "_watchdog",
        "answerer",
        "created",
        "give",
        "id",
        "labels",
        "on_arrived",
        "on_cut",
        "owner",
        "resumable",
    )

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
        self.on_cut: Callable[[HeadwaterError], object] | None = None
        self.on_arrived: Callable[[], bool] | None = None
        self.give: Callable[[Chunk], bool] | None = None
        self.created = time.time()
        self._source = source
        self._after = after
        self._sequence = after
        self._waiting: list[Chunk] = []
        self._end: FinalChunk | HeadwaterError | None = None
        self._tool_calls = ToolCallAccumulator(answerer)
        self._message = MessageAccumulator(answerer, from_start=terms.collects)
        self._measures = Measures()
        self._loop = asyncio.get_running_loop()
        self._heard = 0.0
        self._watchdog = Watchdog(self._loop, self._last_heard, self._pass, answerer.timeouts)
        self._held: list[ProviderEvent] = []
        self._failure: Exception | None = None
        self._is_followed = False
        self._is_closed = False
        self._is_over = False  # nothing more comes from the source
        self._opening: asyncio.Task[object] | None = None  # it awaits the first events
        self._is_cut = False  # that task was cancelled because the stream was ended
        self._waiter: asyncio.Future[None] | None = None
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
        return self._measures.first_token_seconds

    @property
    def pace(self) -> Pace | None:
        """The gaps between its deltas; None before the second."""
        return self._measures.pace(self._sequence - self._after)

    @property
    def outcome(self) -> FinalChunk | HeadwaterError | None:
        """The end of the reply; None before it, and once the stream is closed."""
        return self._end

    @property
    def is_interrupted(self) -> bool:
        """Whether it was ended from outside, or failed."""
        return isinstance(self._end, HeadwaterError)

    async def next(self) -> Chunk | FinalChunk:
        """The next chunk; the last is a FinalChunk. Raises the HeadwaterError with which the stream ended.

        A task that is cancelled meanwhile loses nothing, but for the first chunk.
        """
        if self._waiting:
            return self._waiting.pop(0)
        if self._watchdog.since is None:
            self._watchdog.since = self._loop.time()
        while (entry := self.take()) is None:
            if self._is_followed:
                await self._wait()
            else:
                await self._open()
        self._watchdog.since = None
        try:
            if isinstance(entry, HeadwaterError):
                raise entry
            return entry
        finally:
            del entry  # this frame, to which the traceback refers, would keep the error

    def take(self) -> Chunk | FinalChunk | HeadwaterError | None:
        """The next chunk, the last one, or the error with which the stream ended; None while none of them is there."""
        if (held := self._held) and not self._waiting:
            if (chunk := self._lone_chunk(held)) is not None:
                held.clear()
                return chunk
            self._take_held()
        if self._waiting:
            return self._waiting.pop(0)
        if self._end is None and self._is_over:
            failure, self._failure = self._failure, None
            self._fail(failure or broken_off())
        return self._end

    def _lone_chunk(self, events: Sequence[ProviderEvent]) -> Chunk | None:
        """The chunk of these events, if they are one delta with nothing but text; `merge` makes those of others."""
        delta = events[0]
        if len(events) > 1 or not isinstance(delta, Delta) or self._message.collecting:
            return None
        if delta.tool_calls or delta.refusal or delta.thinking or delta.thinking_signature or delta.redacted_thinking:
            return None
        if delta.provider_data is not None or not 0 < len(delta.content) <= MAX_DELTA_CHARACTERS:
            return None
        if self._measures.note():
            self._watchdog.begin(self.answerer.timeouts)
        self._sequence = sequence = self._sequence + 1
        return Chunk(sequence, time.time(), delta)

    async def _open(self) -> None:
        """Waits for the first events; from then on the source hands them over."""
        task = self._opening = asyncio.current_task(self._loop)
        assert task is not None  # noqa: S101  a coroutine runs in a task
        try:
            self._held += await self._source.read()
        except asyncio.CancelledError:
            if not self._is_cut or task.cancelling() > 1:
                raise
        except Exception as error:  # noqa: BLE001  the reader raises it, with its cause
            self._fail(error)
        else:
            if self._end is None:
                self._is_followed = True
                self._is_over = not self._held
                self._source.follow(self)
        finally:
            self._opening = None
            if self._is_cut:
                task.uncancel()

    async def _wait(self) -> None:
        """Waits until something comes, or the stream ends."""
        self._source.resume()
        if self._held or self._is_over:
            return
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> bool:
        """Tells the reader that something has come. Whether it has taken all."""
        if self.on_arrived is not None:
            return self.on_arrived()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        return False

    def arrived(self, events: Sequence[ProviderEvent]) -> bool:
        """See source.Receiver."""
        if self._end is not None or self._is_closed:
            return True  # events after the end are of no interest
        give = self.give
        if give is not None and (chunk := self._lone_chunk(events)) is not None:
            self._watchdog.since = self._loop.time()
            return give(chunk)
        self._held += events
        return self.on_arrived() if self.on_arrived is not None else self._wake()

    def ended(self, error: Exception | None) -> None:
        """See source.Receiver."""
        self._is_over, self._failure = True, error
        self._wake()

    def wait_for_provider(self, *, waits: bool) -> None:
        """Whether the stream waits for its provider from now on, who then may be silent for so long."""
        self._watchdog.since = self._loop.time() if waits else None

    def resume(self) -> None:
        """All that came is taken: the provider is read on."""
        self._source.resume()

    def interrupt(self, error: HeadwaterError) -> bool:
        """Ends the stream from outside; the reader gets what has arrived, then the error. False: it had ended."""
        if self._is_closed:
            return False
        self._about(error)
        if self.on_cut is not None:
            self.on_cut(error)
        if self._end is not None:
            return False
        self._end = error
        if self._opening is not None:
            self._is_cut = self._opening.cancel()
        elif self._closing is None:  # the caller may be busy with a chunk for long: the provider need not wait
            self._closing = asyncio.create_task(self._source.aclose())
        self._wake()
        return True

    async def close(self) -> asyncio.Task[None] | None:
        """Frees the stream. Returns the task that finishes reading the answer, if any: its caller must await it."""
        self._is_closed = True
        self._watchdog.stop()
        finished = isinstance(self._end, FinalChunk)
        # The traceback of an error refers to this stream. While the stream refers to the error too, only the garbage
        # collector can free them and all that they hold.
        self._waiting.clear()
        self._held.clear()
        self._end = self._failure = None
        source = self._source
        try:
            if self._closing is not None:
                await self._closing
            elif finished and not self._is_over:
                return asyncio.create_task(self._finish_reading(source))
            else:
                await source.aclose()
        finally:
            # The log of a resumable stream keeps the stream. The request, which the source has, is not kept so long.
            del self._source, self._message, self._tool_calls
        return None

    async def _finish_reading(self, source: Source) -> None:
        """Waits until the rest of the answer has come; the source is closed then, and its connection kept."""
        try:
            async with asyncio.timeout(FINISH_READING_SECONDS):
                while not self._is_over:
                    source.resume()
                    self._waiter = self._loop.create_future()
                    await self._waiter
        except TimeoutError:
            pass  # the reply was whole; only the connection is not worth keeping
        finally:
            self._waiter = None
            await source.aclose()

    def _take_held(self) -> None:
        """Makes chunks of the events that are held."""
        events, self._held = self._held, []
        try:
            self._take(events)
        except Exception as error:  # noqa: BLE001  the reader raises it, with its cause
            self._fail(error)

    def _take(self, events: Sequence[ProviderEvent]) -> None:
        finish = None
        deltas = []
        for event in events:
            if isinstance(event, Finish):
                finish = event
                break
            if event.thinking:
                self._measures.thought = True
            if event.tool_calls:
                self._tool_calls.add(event.tool_calls)
            if self._message.collecting or event.tool_calls:
                self._message.add(event)
            if event.provider_data is None or event.says_something():
                deltas.append(event)
        if deltas:
            if self._measures.note():
                self._watchdog.begin(self.answerer.timeouts)
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
            self._about(failure)
            self._end = cut_after(self.chunk_count, failure) if self.chunk_count else failure

    def _final(self, finish: Finish) -> FinalChunk:
        calls = self._tool_calls.complete() if self._tool_calls.size else []
        if finish.reason is FinishReason.TOOL_CALLS and calls and self._message.overflowed:
            raise HeadwaterError(Reason.REPLY_TOO_LARGE, "the reply before its tool calls is over 3 MiB")
        message = self._message.complete(calls)
        cost = self.answerer.cost(finish.usage) if self.answerer.price is not None else None
        stats, request_id = self._measures.stats(self.chunk_count, finish.usage), self._source.request_id
        return FinalChunk(self._sequence + 1, time.time(), finish, stats, calls, request_id, message, cost)

    def _last_heard(self) -> float:
        """The loop's time of the provider's last sign of life that was no delta."""
        return max(self._heard, self._source.heard)

    def _pass(self, limit: str, seconds: float) -> None:
        """A limit was passed."""
        if self._end is None:
            self.interrupt(passed(limit, seconds))

    def _about(self, error: HeadwaterError) -> HeadwaterError:
        return error.about(
            provider=self.answerer.provider,
            model=self.answerer.model,
            stream_id=self.id,
            provider_request_id=self._source.request_id,
        )
