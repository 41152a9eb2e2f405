"""A question that is asked while its stream is still being made, before it is read."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress

import pytest

from headwater_server.domain.chunks import Delta, Finish
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.messages import ChatRequest, Message, Role, Text
from headwater_server.providers.base import Provider
from headwater_server.providers.http.client import HttpClient
from headwater_server.providers.http.stream import HttpStream
from headwater_server.providers.openai.settings import OpenAISettings
from headwater_server.providers.types import build_provider

QUESTION = ChatRequest("m", (Message(Role.USER, (Text("Hi"),)),))
BODY = b'data: {"choices": [{"delta": {"content": "yes"}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'


class Site:
    """A provider that keeps its connections, and notes what it is asked and which connections were closed."""

    def __init__(self) -> None:
        self.questions, self.closed = 0, asyncio.Event()
        self.asked, self.may_answer = asyncio.Event(), asyncio.Event()
        self.may_answer.set()
        self.tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)content-length: *(\d+)", head)
                await reader.readexactly(int(length[1]) if length else 0)
                self.questions += 1
                self.asked.set()
                await self.may_answer.wait()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY))
        self.closed.set()
        writer.close()


@asynccontextmanager
async def site_with_provider() -> AsyncIterator[tuple[Site, Provider]]:
    """A site to which a connection is kept, and a provider that asks it."""
    site = Site()
    server = await asyncio.start_server(site.serve, "127.0.0.1", 0)
    async with HttpClient("test") as client:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        provider = build_provider("p", OpenAISettings(base_url=url, proxy="none"), client)
        async with aclosing(started(provider)) as first:
            assert await text_of(first) == "yes"
        site.may_answer.clear()
        site.asked.clear()
        yield site, provider
    server.close()
    for task in site.tasks:
        task.cancel()
    await asyncio.wait(site.tasks)
    await server.wait_closed()


def started(provider: Provider) -> HttpStream:
    reply = provider.stream(QUESTION)
    assert isinstance(reply, HttpStream)
    reply.start()
    return reply


async def text_of(reply: HttpStream) -> str:
    text = ""
    while True:
        for event in await reply.read():
            if isinstance(event, Finish):
                return text
            assert isinstance(event, Delta)
            text += event.content


async def test_the_question_goes_out_over_a_kept_connection_before_anybody_reads():
    async with site_with_provider() as (site, provider), aclosing(started(provider)) as reply:
        await asyncio.wait_for(site.asked.wait(), 10)
        site.may_answer.set()
        assert await text_of(reply) == "yes"
        assert site.questions == 2


async def test_nothing_goes_out_where_it_is_not_started():
    async with site_with_provider() as (site, provider), aclosing(provider.stream(QUESTION)) as reply:
        for _ in range(20):
            await asyncio.sleep(0)
        assert site.questions == 1
        site.may_answer.set()
        assert await text_of(reply) == "yes"


@pytest.mark.parametrize("is_read", [False, True])
async def test_one_that_is_left_closes_its_connection(is_read):
    async with site_with_provider() as (site, provider):
        async with aclosing(started(provider)) as reply:
            await asyncio.wait_for(site.asked.wait(), 10)
            if is_read:
                reading = asyncio.create_task(reply.read())
                await asyncio.sleep(0)
                reading.cancel()
                await asyncio.wait([reading])
                assert reading.cancelled()
        site.may_answer.set()
        await asyncio.wait_for(site.closed.wait(), 10)


async def test_a_kept_connection_that_has_gone_costs_no_question():
    async with site_with_provider() as (site, provider):
        for task in site.tasks:
            task.cancel()
        await asyncio.wait_for(site.closed.wait(), 10)
        async with aclosing(started(provider)) as reply:
            site.may_answer.set()
            assert await text_of(reply) == "yes"


async def test_a_provider_that_is_not_there_is_the_readers_error():
    async with HttpClient("test") as client:
        provider = build_provider("p", OpenAISettings(base_url="http://127.0.0.1:1", proxy="none"), client)
        async with aclosing(started(provider)) as reply:
            with pytest.raises(HeadwaterError) as caught:
                await reply.read()
    assert caught.value.reason is Reason.PROVIDER_UNAVAILABLE
