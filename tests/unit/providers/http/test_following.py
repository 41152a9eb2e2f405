"""A reply over HTTP that is followed: events come as they are decoded, and a receiver that takes none stops the server."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager

import pytest

from headwater_server.domain.chunks import Delta, Finish, ProviderEvent
from headwater_server.domain.errors import HeadwaterError
from headwater_server.domain.messages import ChatRequest, Message, Role, Text
from headwater_server.providers.http import stream as streams
from headwater_server.providers.http.client import HttpClient
from headwater_server.providers.http.stream import HttpStream
from headwater_server.providers.openai.settings import OpenAISettings
from headwater_server.providers.types import build_provider
from tests.support.upstream.upstream import Answer, Upstream, always

QUESTION = ChatRequest("m", (Message(Role.USER, (Text("Hi"),)),))
END = b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
EVENT_STREAM = "text/event-stream"


def event(content: str) -> bytes:
    return b"data: %s\n\n" % json.dumps({"choices": [{"delta": {"content": content}}]}).encode()


class Taker:
    """Takes events, or only holds them while it is `full`."""

    def __init__(self, *, full: bool = False) -> None:
        self.full = full
        self.events: list[ProviderEvent] = []
        self.end: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def arrived(self, events: Sequence[ProviderEvent]) -> bool:
        self.events += events
        return not self.full

    def ended(self, error: Exception | None) -> None:
        self.end.set_result(error)

    @property
    def text(self) -> str:
        return "".join(event.content for event in self.events if isinstance(event, Delta))


Replying = Callable[[Answer], AbstractAsyncContextManager[HttpStream]]


@pytest.fixture(params=["direct", "proxied"])
def replying(request: pytest.FixtureRequest) -> Replying:
    """Begins a reply that an upstream answers: over a connection of the pool, or with the upstream as its proxy."""

    @asynccontextmanager
    async def begin(answer: Answer) -> AsyncIterator[HttpStream]:
        async with Upstream(answer) as upstream, HttpClient("test") as client, asyncio.timeout(60):
            direct = OpenAISettings(base_url=upstream.url, proxy="none")
            proxied = OpenAISettings(base_url="http://box.example", proxy=upstream.url)
            provider = build_provider("p", proxied if request.param == "proxied" else direct, client)
            async with aclosing(provider.stream(QUESTION)) as reply:
                assert isinstance(reply, HttpStream)
                yield reply

    return begin


@pytest.mark.parametrize("encoding", ["", "gzip"])
async def test_all_events_come_and_then_the_end(replying: Replying, encoding: str) -> None:
    words = [f"word{number} " for number in range(5_000)]
    body = b"".join(map(event, words)) + END
    headers = {"content_encoding": encoding} if encoding else {}
    answer = always("200 OK", gzip.compress(body) if encoding else body, content_type=EVENT_STREAM, **headers)
    async with replying(answer) as reply:
        taker = Taker()
        taker.arrived(await reply.read())
        reply.follow(taker)
        assert await taker.end is None
        assert taker.text == "".join(words)
        assert isinstance(taker.events[-1], Finish)


def endless(piece: bytes, written: list[int]) -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        while True:
            writer.write(piece)
            await writer.drain()
            written[0] += len(piece)

    return answer


async def stands_still(written: list[int]) -> None:
    before = -1
    while written[0] != before:
        before = written[0]
        await asyncio.sleep(0.2)


async def test_a_receiver_that_takes_nothing_stops_the_server_until_it_has_taken(replying: Replying) -> None:
    written = [0]
    piece = event("x" * 1000) * 10
    async with replying(endless(piece, written)) as reply:
        taker = Taker(full=True)
        taker.arrived(await reply.read())
        reply.follow(taker)
        await stands_still(written)
        held = len(taker.text)
        assert held < 1024 * 1024
        taker.full = False
        reply.resume()
        while len(taker.text) < held + 20 * 1024 * 1024:
            await asyncio.sleep(0.01)


async def test_a_large_message_is_decoded_aside_and_keeps_its_place(replying: Replying, monkeypatch) -> None:
    monkeypatch.setattr(streams, "LARGE_BYTES", 64 * 1024)
    texts = ["a", "b" * 300_000, "c", "d" * 300_000, "e"]
    answer = always("200 OK", b"".join(map(event, texts)) + END, content_type=EVENT_STREAM)
    async with replying(answer) as reply:
        taker = Taker()
        taker.arrived(await reply.read())
        reply.follow(taker)
        assert await taker.end is None
        assert taker.text == "".join(texts)


async def test_an_error_ends_it_once_and_closes_nothing_that_another_uses(replying: Replying) -> None:
    failed = b'data: {"error": {"message": "busy", "type": "server_error"}}\n\n'
    answer = always("200 OK", event("a") + failed + event("b") * 100_000, content_type=EVENT_STREAM)
    async with replying(answer) as reply:
        taker = Taker()
        taker.arrived(await reply.read())
        reply.follow(taker)
        assert isinstance(await taker.end, HeadwaterError)
        assert taker.text == "a"


async def test_a_follower_that_comes_after_the_end_gets_the_end(replying: Replying) -> None:
    answer = always("200 OK", event("a") + END, content_type=EVENT_STREAM)
    async with replying(answer) as reply:
        events = list(await reply.read())
        while not reply._is_over:
            await asyncio.sleep(0.01)
        taker = Taker()
        reply.follow(taker)
        assert await taker.end is None
        assert [type(each) for each in [*events, *taker.events]] == [Delta, Finish]
