"""A stream as a plain generator, for programs without async."""

from __future__ import annotations

from collections.abc import Generator

from headwater._call.stream import AgentStream
from headwater._grpc.portal import portal
from headwater.streaming import StreamChunk


def iterate(stream: AgentStream) -> Generator[StreamChunk, None, None]:
    """The chunks; leaving it ends the call."""
    run = portal()
    try:
        while (chunk := run.call(_next_chunk(stream))) is not None:
            yield chunk
    finally:
        stream.cancel()


async def _next_chunk(stream: AgentStream) -> StreamChunk | None:
    return await anext(stream, None)
