"""A server that is replaced while streams run: each is whole, or has a typed end if its connection is cut meanwhile."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from itertools import repeat

import pytest

from headwater import Agent, Connection, StreamInterruptedError
from tests.support.faults.plan import NO_FAULT
from tests.support.faults.proxy import FaultyProxy
from tests.support.servers.rolling import HOSTS, PAUSE_SECONDS, TwoServers

WORDS = [f"w{i}" for i in range(20)]
TEXT = " ".join(WORDS)
CUT_ONE_IN = 10


class Stream:
    """A stream on a connection that is its alone."""

    def __init__(self, connection: Connection, seconds: float) -> None:
        options = {"scripted": {"text": TEXT, "delay_ms": 1000 * seconds / len(WORDS)}}
        agent = Agent(model="scripted/echo", connection=connection, history=0)
        self._stream = agent.stream("x", provider_options=options)
        self.begun = asyncio.Event()

    async def end(self) -> str:
        """How it ended: `whole`, or the reason of its error, whose text is all that had come."""
        text = ""
        try:
            async for chunk in self._stream:
                self.begun.set()
                text += chunk.content
        except StreamInterruptedError as error:
            assert error.partial_response == text
            assert TEXT.startswith(text)
            return str(error.reason)
        assert text == TEXT
        return "whole"


async def replace_one(streams: int, seconds: float) -> tuple[Counter[str], int]:
    """Ends one of two servers while so many streams run on it, and cuts one connection in ten; how the streams ended,
    and how many new calls were made meanwhile, none of which may fail.
    """
    async with AsyncExitStack() as stack:
        servers = stack.enter_context(TwoServers(1))
        ends = [await stack.enter_async_context(FaultyProxy(servers.port, repeat(NO_FAULT), host)) for host in HOSTS]
        target = "ipv4:" + ",".join(end.target for end in ends)
        connections = [await stack.enter_async_context(Connection(target)) for _ in range(streams + 1)]
        running = [Stream(connection, seconds) for connection in connections[1:]]
        tasks = [asyncio.create_task(each.end()) for each in running]
        await asyncio.gather(*(each.begun.wait() for each in running))
        servers.ask_to_end(0)
        calling = asyncio.create_task(call_until(connections[0], tasks))
        await servers.until_draining(0)
        ends[0].reset_oldest(streams // CUT_ONE_IN)
        return Counter(await asyncio.gather(*tasks)), await calling


async def call_until(connection: Connection, tasks: list[asyncio.Task[str]]) -> int:
    """Makes calls until the streams have ended; how many."""
    calls = 0
    while not all(task.done() for task in tasks):
        agent = Agent(model="scripted/echo", connection=connection, history=0)
        assert (await agent.arun("a b c")).content == "a b c"
        calls += 1
        await asyncio.sleep(PAUSE_SECONDS)
    return calls


async def check(streams: int, seconds: float) -> None:
    ends, calls = await replace_one(streams, seconds)
    print(f"{streams} streams of {seconds:g} s on a server that is replaced: {dict(ends)}; {calls} new calls, 0 failed")
    cut = streams // CUT_ONE_IN
    assert ends == {"whole": streams - cut, "STREAM_EXPIRED": cut}
    assert calls


async def test_streams_outlive_the_server_that_is_replaced_or_have_a_typed_end() -> None:
    await check(20, 1.0)


@pytest.mark.chaos
async def test_a_hundred_streams_of_five_seconds_outlive_the_server_that_is_replaced() -> None:
    await check(100, 5.0)
