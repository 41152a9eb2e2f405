"""A running stream for the length of a block."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from headwater_server.streaming.answerer import Answerer
from headwater_server.streaming.live import LiveStream
from headwater_server.streaming.running_streams import RunningStreams
from headwater_server.streaming.source import Source
from headwater_server.streaming.terms import NO_TERMS, Continuation, StreamTerms


@asynccontextmanager
async def running(
    streams: RunningStreams,
    answerer: Answerer,
    source: Source,
    continues: Continuation | None = None,
    terms: StreamTerms = NO_TERMS,
) -> AsyncIterator[LiveStream]:
    stream = await streams.begin(answerer, source, continues, terms)
    try:
        yield stream
    finally:
        await streams.end(stream)
