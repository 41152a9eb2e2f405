"""Writes a stream to its caller: by waiting for each message, or by pushing where the front takes bytes at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from headwater_server.domain.chunks import Chunk, FinalChunk
from headwater_server.domain.errors import HeadwaterError
from headwater_server.streaming.live import LiveStream
from headwater_server.streaming.push import Push, Reading
from headwater_server.streaming.times.idle import IdleWatch
from headwater_server.telemetry.call_facts import add_facts
from headwater_server.transport.convert import replies
from headwater_server.transport.handlers import Context
from headwater_server.transport.http2.calls.context import Context as LeanContext
from headwater_server.transport.http2.stream import Sent
from headwater_server.transport.services.chunk_messages import chunk_bytes, message_of
from headwater_server.transport.services.heartbeats import Outlet, Write, heartbeats

_FULL = Sent.FULL  # see transport.http2.stream
HEADERS_SECONDS = 0.02
"""The headers go out so late, or with the first chunk if that comes before, in one write."""


async def write_stream(
    stream: LiveStream,
    source: Reading,
    context: Context,
    headers: Sequence[tuple[str, str]],
    heartbeat_seconds: float | None,
    idle_seconds: float,
) -> None:
    """Writes the headers while the provider answers, then all chunks. Raises HeadwaterError.

    Args:
        stream: the stream.
        source: the stream itself, or the reader of a resumable one.
        context: the call.
        headers: sent first.
        heartbeat_seconds: after which an empty chunk is written on a quiet stream; None for none.
        idle_seconds: how long the caller may take nothing.
    """
    outlet, begun, write_last, waiting = None, None, None, None
    if isinstance(context, LeanContext):
        outlet, write_last = context.call, context.write_last
        # Not at once: the write wakes the caller, who competes for a core with the question to the provider.
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
            if source is stream:  # a resumable one ends without its readers
                stream.on_cut = reader.hurry
                if isinstance(stream.outcome, HeadwaterError):
                    reader.hurry(stream.outcome)  # it came while the first chunk was on its way to this task
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
