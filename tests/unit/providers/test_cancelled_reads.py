"""A read of a reply that is cancelled after its first event loses nothing: the reader of a resumable stream may leave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from itertools import cycle

import pytest

from headwater_server.domain.chunks import Delta, Finish, ProviderEvent
from headwater_server.domain.messages import ChatRequest, Message, Role, Text
from headwater_server.providers.base import Provider, ProviderStream
from headwater_server.providers.http.client import HttpClient
from headwater_server.providers.ollama.settings import OllamaSettings
from headwater_server.providers.openai.settings import OpenAISettings
from headwater_server.providers.scripted.provider import ScriptedProvider
from headwater_server.providers.types import build_provider
from tests.support.upstream.upstream import Upstream

QUESTION = (Message(Role.USER, (Text("Hi"),)),)
WORDS = [f"word{number} " for number in range(30)]
BURST = [f"{'x' * 1000}{number} " for number in range(40)]  # more than is read at once


def openai_event(word: str) -> bytes:
    return b"data: %s\n\n" % json.dumps({"choices": [{"delta": {"content": word}}]}).encode()


def ollama_line(word: str) -> bytes:
    return b"%s\n" % json.dumps({"message": {"content": word}, "done": False}).encode()


def answer(event: Callable[[str], bytes], end: bytes):
    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
        for word in WORDS:
            writer.write(event(word))
            await writer.drain()
            await asyncio.sleep(0.001)  # no event is waited for: only so that reads come in between
        writer.write(b"".join(map(event, BURST)) + end)
        await writer.drain()

    return write


@asynccontextmanager
async def over_http(
    settings: type[OpenAISettings] | type[OllamaSettings],
    event: Callable[[str], bytes],
    end: bytes,
    *,
    is_proxied: bool = False,
) -> AsyncIterator[Provider]:
    async with Upstream(answer(event, end)) as upstream, HttpClient("test") as client:
        url, proxy = ("http://provider.example", upstream.url) if is_proxied else (upstream.url, "none")
        yield build_provider("p", settings(base_url=url, proxy=proxy), client)


def openai(*, is_proxied: bool = False) -> AbstractAsyncContextManager[Provider]:
    end = b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
    return over_http(OpenAISettings, openai_event, end, is_proxied=is_proxied)


def proxied() -> AbstractAsyncContextManager[Provider]:
    return openai(is_proxied=True)


def ollama() -> AbstractAsyncContextManager[Provider]:
    return over_http(
        OllamaSettings, ollama_line, b'{"message": {"content": ""}, "done": true, "done_reason": "stop"}\n'
    )


@asynccontextmanager
async def scripted() -> AsyncIterator[Provider]:
    yield ScriptedProvider()


async def read_with_cancellations(reply: ProviderStream) -> list[ProviderEvent]:
    """Reads a reply; every read but the first is cancelled after a few steps, until one was quicker."""
    events = list(await reply.read())
    steps = cycle(range(8))
    while not (events and isinstance(events[-1], Finish)):
        reading = asyncio.create_task(reply.read())
        for _ in range(next(steps)):
            await asyncio.sleep(0)
        reading.cancel()
        await asyncio.wait([reading])
        if not reading.cancelled():
            events += reading.result()
            if not reading.result():
                break
    return events


@pytest.mark.parametrize("kind", [openai, proxied, ollama, scripted])
async def test_a_read_that_is_cancelled_loses_nothing(kind: Callable[[], AbstractAsyncContextManager[Provider]]):
    text = "".join(WORDS + BURST)
    model = "reply" if kind is scripted else "m"
    options = {"text": text, "delay_ms": 1} if kind is scripted else {}
    question = ChatRequest(model, QUESTION, provider_options=options)
    async with kind() as provider, aclosing(provider.stream(question)) as reply:
        events = await read_with_cancellations(reply)
    assert isinstance(events[-1], Finish)
    assert "".join(event.content for event in events if isinstance(event, Delta)) == text
