"""The list of running streams: its order, and the positions at which its pages begin."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from headwater_server.domain.chunks import ProviderEvent
from headwater_server.domain.stream_id import index_of
from headwater_server.streaming import live
from headwater_server.streaming.answerer import Answerer
from headwater_server.streaming.live import LiveStream
from headwater_server.streaming.replays import StreamFacts, StreamState
from headwater_server.streaming.running_streams import RunningStreams, list_position
from headwater_server.transport.convert.replies import stream_info
from tests.support.services.running import running

NOW = 1_764_000_000.123456


class SilentSource:
    """A reply that says nothing."""

    request_id = ""
    heard = 0.0

    async def __aiter__(self) -> AsyncIterator[ProviderEvent]:
        await asyncio.Event().wait()
        raise AssertionError
        yield

    async def aclose(self) -> None: ...


async def opened(stack: AsyncExitStack, registry: RunningStreams, count: int) -> list[LiveStream]:
    return [await stack.enter_async_context(running(registry, Answerer("p"), SilentSource())) for _ in range(count)]


def clock(monkeypatch: pytest.MonkeyPatch, step: float) -> None:
    """A clock that advances by so many seconds each time it is read."""
    looks = itertools.count()
    monkeypatch.setattr(live.time, "time", lambda: NOW + step * next(looks))


@pytest.mark.parametrize("step", [0.0, -1.0, 0.0000001])
async def test_streams_are_in_the_order_in_which_they_began_whatever_the_clock_does(monkeypatch, step):
    clock(monkeypatch, step)
    registry = RunningStreams(3)
    async with AsyncExitStack() as stack:
        streams = await opened(stack, registry, 50)
        found, after = [], 0
        while True:
            page, after = registry.page(after, 7)
            found += page
            if not after:
                break
    assert found == streams
    assert {index_of(stream.id) for stream in streams} == {3}


async def test_the_position_is_that_of_the_time_that_callers_are_told(monkeypatch):
    clock(monkeypatch, 0.000001)
    registry = RunningStreams(5)
    async with AsyncExitStack() as stack:
        streams = await opened(stack, registry, 999)
        after = 0
        for stream in streams[:-1]:
            _, after = registry.page(after, 1)
            told = stream_info(stream, StreamFacts(StreamState.ATTACHED, 0)).create_time
            assert after == list_position(told.seconds * 1_000_000 + told.nanos // 1000, 5)
