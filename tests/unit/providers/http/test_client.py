"""The HTTP client: proxies of the environment, but never for this host; how bodies are read."""

from __future__ import annotations

import asyncio

import pytest

from headwater_server.domain.chunks import Delta
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.messages import ChatRequest, Message, Role, Text
from headwater_server.providers.credentials.base import KeyHeader, StaticKey
from headwater_server.providers.http.body import body_reader
from headwater_server.providers.http.client import HttpClient, Way, parsed_url
from headwater_server.providers.http.model_list import parse_models
from headwater_server.providers.http.provider import HttpProvider
from headwater_server.providers.http.site import Site
from headwater_server.providers.openai.chat import OpenAIChatWire
from tests.support.upstream.upstream import Answer, Upstream, always

SAID = b'data: {"choices": [{"index": 0, "delta": {"content": "a"}}]}\n\n'


@pytest.fixture(autouse=True)
def _no_proxies_from_outside(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def proxied(client: HttpClient, url: str) -> bool:
    return client.proxy(parsed_url(url)) is not None


async def test_without_variables_there_is_no_proxy():
    async with HttpClient("test") as client:
        assert not proxied(client, "https://api.example.com")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://api.example.com/v1", True),
        ("http://gpu-box:8000", True),
        ("http://127.0.0.1:8080", False),
        ("http://localhost:11434", False),
        ("http://[::1]:1", False),
        ("http://[::ffff:127.0.0.1]:1", False),
        ("http://LOCALHOST:11434", False),
        ("http://ollama.localhost:11434", False),
        ("http://127.1:8080", False),
        ("http://0.0.0.0:8080", False),
        ("http://localhost.example.com", True),
        ("https://in.house.example/x", False),
        ("https://house.example/x", False),
        ("http://10.1.2.3", False),
        ("http://10.1.2.4", True),
        ("http://[fd00::1]:8000", False),
        ("http://[fd00::2]:8000", True),
    ],
)
async def test_proxies_are_for_others_than_this_host_and_no_proxy(monkeypatch, url, expected):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("HTTP_PROXY", "proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", ".house.example, house.example,10.1.2.3,[fd00::1]")
    async with HttpClient("test") as client:
        assert proxied(client, url) is expected


@pytest.mark.parametrize("excluded", ["*", "a.example, *"])
async def test_a_star_excludes_every_host(monkeypatch, excluded):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", excluded)
    async with HttpClient("test") as client:
        assert not proxied(client, "https://api.example.com")


@pytest.mark.parametrize("is_proxied", [False, True])
async def test_a_body_is_read_in_pieces(is_proxied):
    async with Upstream(always("200 OK", b"x" * 40_000)) as upstream, HttpClient("test") as client:
        answer = await client.over(Way(proxy=upstream.url if is_proxied else "none")).send(
            "GET", parsed_url(upstream.url), {}
        )
        read, pieces = body_reader(answer), []
        while piece := await read():
            pieces.append(piece)
        await answer.aclose()
    assert b"".join(pieces) == b"x" * 40_000
    assert max(map(len, pieces)) <= 16 * 1024


def provider_at(url: str, client: HttpClient) -> HttpProvider:
    return HttpProvider(
        name="openai",
        type="openai",
        site=Site(url, KeyHeader(StaticKey("")), client),
        wires={"chat_completions": OpenAIChatWire(genuine=False)},
        default_model="",
        models_path="/models",
        parse_models=parse_models,
    )


QUESTION = ChatRequest("m", (Message(Role.USER, (Text("Hi"),)),))


async def test_what_had_arrived_before_the_connection_broke_comes_before_the_error():
    more = asyncio.Event()

    async def cut(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 9999\r\n\r\n" + SAID)
        await more.wait()
        writer.write(SAID)

    async with Upstream(cut) as upstream, HttpClient("test") as client:
        stream = provider_at(upstream.url, client).stream(QUESTION)
        assert await stream.read() == [Delta(content="a")]
        more.set()
        async with asyncio.timeout(10):
            while not stream._is_over:
                await asyncio.sleep(0)
        assert await stream.read() == [Delta(content="a")]
        with pytest.raises(HeadwaterError, match="the connection broke"):
            await stream.read()
        await stream.aclose()


async def read_all(answer: Answer) -> tuple[list[list[object]], HeadwaterError | None]:
    """The result of each read of a reply, and the error that the last one raises."""
    async with Upstream(answer) as upstream, HttpClient("test") as client:
        stream = provider_at(upstream.url, client).stream(QUESTION)
        reads: list[list[object]] = []
        try:
            while events := await stream.read():
                reads.append(list(events))
        except HeadwaterError as error:
            return reads, error
        finally:
            await stream.aclose()
    return reads, None


async def test_events_that_came_together_are_one_read():
    reads, error = await read_all(always("200 OK", SAID * 2, content_type="text/event-stream"))
    assert reads == [[Delta(content="a"), Delta(content="a")]]
    assert error is None


async def test_what_was_said_before_an_error_comes_before_it():
    failed = b'data: {"error": {"message": "busy", "type": "server_error"}}\n\n'
    reads, error = await read_all(always("200 OK", SAID + failed, content_type="text/event-stream"))
    assert reads == [[Delta(content="a")]]
    assert error is not None
    assert error.reason is Reason.PROVIDER_UNAVAILABLE


async def test_a_providers_cookie_is_not_sent_back_since_all_callers_share_the_client():
    answer = always(
        "200 OK", SAID, content_type="text/event-stream", set_cookie="who=alice; path=/", connection="close"
    )
    async with Upstream(answer) as upstream, HttpClient("test") as client:
        for _ in range(2):
            stream = provider_at(upstream.url, client).stream(QUESTION)
            await stream.read()
            await stream.aclose()
    assert len(upstream.requests) == 2
    assert not [request for request in upstream.requests if "cookie" in request.lower()]
