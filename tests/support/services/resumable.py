"""Resumable streams without a server: providers that say ten words, and the streams of a process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from headwater_server.domain.chunks import Chunk, Delta, FinalChunk, Finish, FinishReason, ProviderEvent
from headwater_server.domain.errors import HeadwaterError
from headwater_server.eventlog.memory_log import MemoryLog
from headwater_server.streaming.answerer import Answerer
from headwater_server.streaming.live import LiveStream
from headwater_server.streaming.reader import Reader
from headwater_server.streaming.replays import Replays
from headwater_server.streaming.running_streams import RunningStreams
from headwater_server.streaming.source import ReadSource
from headwater_server.streaming.terms import Continuation, ReplayLimits, StreamTerms
from tests.support.services.running import running
from tests.support.virtual_time import run_in_virtual_time

WORDS = [f"w{i} " for i in range(10)]
TEXT = "".join(WORDS)


class Provider(ReadSource):
    """A reply of ten words, one a second; counts the words that were read."""

    request_id = "req"
    heard = 0.0

    def __init__(self, size: int = 0, reason: FinishReason = FinishReason.STOP, pause: float = 1.0) -> None:
        self.read_words = 0
        self.closed = False
        self._reason = reason
        self._padding = "x" * size
        self._pause = pause

    async def read(self) -> list[ProviderEvent]:
        await asyncio.sleep(self._pause)
        if self.read_words == len(WORDS):
            return [Finish(self._reason)]
        self.read_words += 1
        return [Delta(content=WORDS[self.read_words - 1] + self._padding)]

    async def aclose(self) -> None:
        self.closed = True
        await super().aclose()


class Failing(Provider):
    """Breaks off after three words."""

    async def read(self) -> list[ProviderEvent]:
        return [] if self.read_words == 3 else await super().read()


class Service:
    """The resumable streams of a process."""

    def __init__(self, **limits: float) -> None:
        self.streams = RunningStreams()
        self.replays = Replays(ReplayLimits(**limits), MemoryLog)  # type: ignore[arg-type]

    def opening(self, provider: Provider, continues: Continuation | None = None):
        terms = StreamTerms(resumable=True, labels={"team": "red"})
        return running(self.streams, Answerer("fake", model="m"), provider, continues, terms)

    @asynccontextmanager
    async def open_stream(
        self, provider: Provider, continues: Continuation | None = None
    ) -> AsyncIterator[tuple[Reader, LiveStream]]:
        async with self.replays.open_stream(self.opening(provider, continues), continues) as attached:
            yield attached.reader, attached.stream

    async def leave_after(self, provider: Provider, chunks: int) -> tuple[str, int, str]:
        """Opens a stream, and leaves it after so many chunks: its id, the last sequence and the text so far."""
        text, sequence = "", 0
        async with self.open_stream(provider) as (reader, stream):
            for _ in range(chunks):
                chunk = await reader.next()
                assert isinstance(chunk, Chunk)
                text, sequence = text + chunk.delta.content, chunk.sequence
            return stream.id, sequence, text

    async def rest(self, stream_id: str, after: int) -> tuple[str, FinalChunk]:
        """The text that follows, and the end."""
        async with self.replays.resume(stream_id, after) as attached:
            return await read(attached.reader)

    async def error(self, stream_id: str, after: int = 0) -> HeadwaterError:
        with pytest.raises(HeadwaterError) as caught:
            await self.rest(stream_id, after)
        return caught.value

    async def close(self) -> None:
        self.replays.drain()
        await self.streams.drain(0)
        await self.replays.close()
        await self.streams.close()


async def read(reader: Reader) -> tuple[str, FinalChunk]:
    text = ""
    while isinstance(chunk := await reader.next(), Chunk):
        text += chunk.delta.content
    return text, chunk


def in_virtual_time(test: Callable[..., object]):
    def run() -> None:
        run_in_virtual_time(test())  # type: ignore[arg-type]

    run.__name__ = test.__name__
    return run
