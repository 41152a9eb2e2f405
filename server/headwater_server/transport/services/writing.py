"""Writes a stream to its caller: by waiting for each message, or by pushing where the front takes bytes at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence

import grpc

from headwater_server.domain.chunks import Chunk, FinalChunk
from headwater_server.domain.errors import HeadwaterError
from headwater_server.streaming.live import LiveStream
from headwater_server.streaming.push import Push, Reading
from headwater_server.streaming.times.idle import IdleWatch
from headwater_server.telemetry.call_facts import add_facts
from headwater_server.transport.convert import replies
from headwater_server.transport.handlers import Context
from headwater_server.transport.http2.calls.call import Call
from headwater_server.transport.http2.calls.context import Context as LeanContext
from headwater_server.transport.http2.stream import Sent
from headwater_server.transport.services.chunk_messages import chunk_bytes, message_of
from headwater_server.transport.services.heartbeats import Outlet, Write, heartbeats

_FULL = Sent.FULL  # see transport.http2.stream
HEADERS_SECONDS = 0.02
"""The headers go out so late, or with the first chunk if that comes before, in one write."""


def write_stream(
    stream: LiveStream,
    source: Reading,
    context: Context,
    headers: Sequence[tuple[str, str]],
    heartbeat_seconds: float | None,
    idle_seconds: float,
) -> Awaitable[None]:
    """Writes the headers while the provider answers, then all chunks; to be awaited at once. Raises HeadwaterError.

    Args:
        stream: the stream.
        source: the stream itself, or the reader of a resumable one.
        context: the call.
        headers: sent first.
        heartbeat_seconds: after which an empty chunk is written on a quiet stream; None for none.
        idle_seconds: how long the caller may take nothing.
    """
    if heartbeat_seconds is None and isinstance(context, LeanContext):
        return _push(stream, source, context, headers, idle_seconds)
    return _write(stream, source, context, headers, heartbeat_seconds, idle_seconds)


async def _push(
    stream: LiveStream, source: Reading, context: LeanContext, headers: Sequence[tuple[str, str]], idle_seconds: float
) -> None:
    """Writes the stream to a call that takes messages at once, as it nearly always does: no write waits then."""
    call = context.call
    # Not at once: the write wakes the caller, who competes for a core with the question to the provider.
    waiting = call.loop.call_later(HEADERS_SECONDS, call.send_headers, headers)
    try:
        chunk = await source.next()
        message = _first_bytes(chunk, stream)
    except BaseException:
        call.send_headers(headers)  # unless they were sent
        raise
    finally:
        waiting.cancel()
    with IdleWatch(idle_seconds, detaches=stream.resumable, task=context.task) as reader:
        _end_reader_with(stream, source, reader)
        if not isinstance(chunk, FinalChunk):
            if (sent := call.send_first(headers, message)) is not Sent.SENT or call.stream.is_full:
                await _until_sent(call, sent, message, reader)
                call.stream.flush()
            del chunk, message  # a provider may say nothing for minutes
            chunk = await _Pushing(source, call, reader).run()
            message = message_of(chunk).SerializeToString()
        else:
            call.send_headers(headers)
        log_end(chunk)
        if (sent := call.try_send(message)) is not Sent.SENT or call.stream.is_full:
            await _until_sent(call, sent, message, reader)


async def _until_sent(call: Call, sent: Sent, message: bytes, reader: IdleWatch) -> None:
    """Waits until a message has gone out. Raises InternalError when the call has ended."""
    reader.begin()
    if not await call.settle(sent, message):
        raise grpc.aio.InternalError("the call has ended")
    reader.busy_since = None


def _end_reader_with(stream: LiveStream, source: Reading, reader: IdleWatch) -> None:
    """Has the reader of a stream hurry when that is ended from outside; a resumable one ends without its readers."""
    if source is stream:
        stream.on_cut = reader.hurry
        if isinstance(stream.outcome, HeadwaterError):
            reader.hurry(stream.outcome)  # it came while the first chunk was on its way to this task


async def _write(
    stream: LiveStream,
    source: Reading,
    context: Context,
    headers: Sequence[tuple[str, str]],
    heartbeat_seconds: float | None,
    idle_seconds: float,
) -> None:
    """Writes the stream to any call, with heartbeats between its chunks where they are wanted."""
    outlet, begun, write_last, waiting = None, None, None, None
    if isinstance(context, LeanContext):
        outlet, write_last = context.call, context.write_last
        waiting = asyncio.get_running_loop().call_later(HEADERS_SECONDS, outlet.send_headers, headers)
    else:
        begun = asyncio.create_task(context.send_initial_metadata(headers))
    async with heartbeats(context.write, outlet, heartbeat_seconds, begun) as line:
        try:
            chunk = await source.next()
        finally:
            if begun is not None:
                await begun
            elif outlet is not None and waiting is not None:
                waiting.cancel()
                outlet.send_headers(headers)  # unless they were sent
        message = _first_bytes(chunk, stream)
        with IdleWatch(idle_seconds, detaches=stream.resumable) as reader:
            _end_reader_with(stream, source, reader)
            if not isinstance(chunk, FinalChunk):
                reader.begin()
                await line.write(message)
                reader.busy_since = None
                del begun, chunk, message  # a provider may say nothing for minutes
                if line.outlet is not None:
                    chunk = await _Pushing(source, line.outlet, reader).run()
                else:
                    chunk = await _pull(source, line.write, reader)
                message = message_of(chunk).SerializeToString()
            log_end(chunk)
            reader.begin()
            await (write_last or line.write)(message)


async def _pull(source: Reading, write: Write, reader: IdleWatch) -> FinalChunk:
    """Writes all chunks but the last one."""
    while not isinstance(chunk := await source.next(), FinalChunk):
        message = chunk_bytes(chunk)
        reader.begin()
        await write(message)
        reader.busy_since = None
    return chunk


def _first_bytes(chunk: Chunk | FinalChunk, stream: LiveStream) -> bytes:
    """The first message of a stream, which says who answers."""
    first = message_of(chunk)
    replies.introduce(first, stream)
    return first.SerializeToString()


class _Pushing(Push):
    """Has all chunks but the last one sent in the callbacks in which they come."""

    __slots__ = ("_reader", "_try_send")

    def __init__(self, source: Reading, outlet: Outlet, reader: IdleWatch) -> None:
        super().__init__(source)
        self._reader, self._try_send = reader, outlet.try_send
        outlet.on_writable = self.writable
        reader.rest()

    def _gives(self, chunk: Chunk) -> bool:
        try:
            if self._try_send(chunk_bytes(chunk)) is not _FULL:
                return True  # also when the caller has left: the front ends this task
        except Exception as error:  # noqa: BLE001  see Push
            return self._keep(chunk, error)
        self._reader.begin()
        return self._keep(chunk)

    def writable(self) -> None:
        """See Push."""
        if self._end is not None:
            self._reader.busy_since = None
            super().writable()


def log_end(final: FinalChunk) -> None:
    """Adds to the call's line in the log how the reply ended."""
    facts: dict[str, object] = {"finish_reason": final.finish.reason}
    if (usage := final.finish.usage) is not None:
        facts["input_tokens"], facts["output_tokens"] = usage.input_tokens, usage.output_tokens
    add_facts(**facts)
