"""Connections, statuses and addresses: which answers are read, which calls are sent again, which errors name the cure."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from headwater_server.domain.chunks import Delta, Finish
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.messages import ChatRequest, Message, Role, Text
from headwater_server.providers.anthropic.settings import AnthropicSettings
from headwater_server.providers.base import Provider
from headwater_server.providers.http.client import HttpClient
from headwater_server.providers.ollama.settings import OllamaSettings
from headwater_server.providers.openai.settings import OpenAISettings
from headwater_server.providers.types import build_provider

REPLY = b'data: {"choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
QUESTION = ChatRequest("m", (Message(Role.USER, (Text("Hi"),)),))

Answer = Callable[[str, int], bytes | None]
"""The bytes of an answer, for the path and the number of the request on its connection; None closes the connection."""


def response(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


class Upstream:
    def __init__(self) -> None:
        self.url = ""
        self.paths: list[str] = []
        self.connections = 0


@asynccontextmanager
async def upstream(answer: Answer) -> AsyncIterator[Upstream]:
    found = Upstream()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.connections += 1
        number = 0
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().lower().split("\r\n")
                length = next((int(line[16:]) for line in lines if line.startswith("content-length: ")), 0)
                await reader.readexactly(length)
                found.paths.append(head.decode().split(" ")[1])
                data = answer(found.paths[-1], number)
                number += 1
                if data is None:
                    break
                writer.write(data)
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield found
    finally:
        server.close()
        await server.wait_closed()


Compatible = Callable[[str, HttpClient], Provider]


@pytest.fixture(params=["direct", "proxied"])
def compatible(request: pytest.FixtureRequest) -> Compatible:
    """Makes the provider at an address: over a connection of the pool, or with the upstream as its proxy."""

    def make(url: str, client: HttpClient) -> Provider:
        direct = OpenAISettings(base_url=url, proxy="none")
        proxied = OpenAISettings(base_url="http://box.example", proxy=url)
        return build_provider("compat", proxied if request.param == "proxied" else direct, client)

    return make


async def ask(provider: Provider) -> str:
    """The text of a whole reply. Raises HeadwaterError."""
    stream = provider.stream(QUESTION)
    text, is_whole = "", False
    try:
        while events := await stream.read():
            text += "".join(event.content for event in events if isinstance(event, Delta))
            is_whole = is_whole or isinstance(events[-1], Finish)
    finally:
        await stream.aclose()
    assert is_whole
    return text


async def test_a_kept_connection_that_the_server_closes_when_it_is_used_again_costs_nothing(
    compatible: Compatible,
) -> None:
    def answer(_path: str, number: int) -> bytes | None:
        return response(REPLY) if number == 0 else None

    async with upstream(answer) as server, HttpClient("test") as client:
        provider = compatible(server.url, client)
        assert [await ask(provider) for _ in range(3)] == ["a", "a", "a"]
        assert server.connections == 3


async def test_a_new_connection_that_is_closed_without_an_answer_is_not_tried_again(compatible: Compatible) -> None:
    async with upstream(lambda _path, _number: None) as server, HttpClient("test") as client:
        with pytest.raises(HeadwaterError) as caught:
            await ask(compatible(server.url, client))
        assert caught.value.reason is Reason.PROVIDER_UNAVAILABLE
        assert (server.connections, len(server.paths)) == (1, 1)


async def test_a_call_is_sent_again_once_only(compatible: Compatible) -> None:
    answers = iter([response(REPLY), None, None])
    async with upstream(lambda _path, _number: next(answers)) as server, HttpClient("test") as client:
        provider = compatible(server.url, client)
        assert await ask(provider) == "a"
        with pytest.raises(HeadwaterError):
            await ask(provider)
        assert len(server.paths) == 3


@pytest.mark.parametrize("status", ["200 OK", "201 Created", "203 Non-Authoritative", "206 Partial Content"])
async def test_every_success_is_read(compatible: Compatible, status: str) -> None:
    async with upstream(lambda *_: response(REPLY, status)) as server, HttpClient("test") as client:
        assert await ask(compatible(server.url, client)) == "a"


@pytest.mark.parametrize(
    ("status", "header", "words"),
    [
        ("202 Accepted", "content-type: application/json", "HTTP status 202"),
        ("204 No Content", "content-type: application/json", "HTTP status 204"),
        ("301 Moved", "location: https://other.example/v1?key=secret", "it points to https://other.example/v1,"),
        ("302 Found", "location: /login", "it points to /login,"),
        ("307 Temporary Redirect", "location: //other.example/v1", "it points to //other.example/v1,"),
    ],
)
async def test_what_is_no_success_is_named(compatible: Compatible, status: str, header: str, words: str) -> None:
    body = b"" if status.startswith("204") else b"{}"
    answer = response(body, status, header).replace(b"content-length: 0\r\n", b"")
    async with upstream(lambda *_: answer) as server, HttpClient("test") as client:
        with pytest.raises(HeadwaterError) as caught:
            await ask(compatible(server.url, client))
    assert caught.value.reason is Reason.PROVIDER_UNAVAILABLE
    assert words in caught.value.message
    assert "secret" not in caught.value.message


async def test_long_headers_are_read(compatible: Compatible) -> None:
    headers = [f"x-debug-{number}: {'v' * 20_000}" for number in range(3)]
    async with upstream(lambda *_: response(REPLY, "200 OK", *headers)) as server, HttpClient("test") as client:
        assert await ask(compatible(server.url, client)) == "a"


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, br", "gzip, gzip", "deflate,identity, x-gzip", "ZSTD"])
async def test_an_encoding_that_was_not_asked_for_and_is_not_read_is_named(
    compatible: Compatible, encoding: str
) -> None:
    answer = response(b"\x28\xb5\x2f\xfd", "200 OK", f"content-encoding: {encoding}")
    async with upstream(lambda *_: answer) as server, HttpClient("test") as client:
        with pytest.raises(HeadwaterError) as caught:
            await ask(compatible(server.url, client))
    assert (
        f"has the encoding {encoding.lower().replace(',identity', '')}, which was not asked for" in caught.value.message
    )


@pytest.mark.parametrize("encoding", ["br", "zstd"])
@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("200 OK", Reason.PROVIDER_UNAVAILABLE),
        ("401 No", Reason.PROVIDER_AUTH_FAILED),
        ("429 No", Reason.PROVIDER_RATE_LIMITED),
        ("500 No", Reason.PROVIDER_UNAVAILABLE),
    ],
)
async def test_the_encoding_of_an_answer_is_named_beside_the_meaning_of_its_status(
    compatible: Compatible, encoding: str, status: str, reason: Reason
) -> None:
    answer = response(b"\x28\xb5\x2f\xfd\x24\x01\xd1\xff", status, f"content-encoding: {encoding}")
    async with upstream(lambda *_: answer) as server, HttpClient("test") as client:
        provider = compatible(server.url, client)
        for asking in (ask(provider), provider.models()):
            with pytest.raises(HeadwaterError) as caught:
                await asking
            assert caught.value.reason is reason
            assert f"has the encoding {encoding}, which was not asked for" in caught.value.message
            assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    ("body", "name"),
    [(b"\x28\xb5\x2f\xfd\x24\x01\xd1\xff", "zstd"), (gzip.compress(REPLY), "gzip")],
    ids=["zstd", "gzip"],
)
async def test_a_compressed_answer_whose_head_does_not_say_so_is_named(
    compatible: Compatible, body: bytes, name: str
) -> None:
    answer = response(body, "200 OK", "content-type: text/event-stream")
    async with upstream(lambda *_: answer) as server, HttpClient("test") as client:
        with pytest.raises(HeadwaterError) as caught:
            await ask(compatible(server.url, client))
    assert f"is compressed ({name})" in caught.value.message
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("encoding", ["identity", "utf-8", "none"])
async def test_a_name_that_is_no_compression_does_no_harm(compatible: Compatible, encoding: str) -> None:
    answer = response(REPLY, "200 OK", f"content-encoding: {encoding}")
    async with upstream(lambda *_: answer) as server, HttpClient("test") as client:
        assert await ask(compatible(server.url, client)) == "a"


async def test_what_a_compressor_has_flushed_arrives_at_once(compatible: Compatible) -> None:
    more = asyncio.Event()
    packer = zlib.compressobj(wbits=31)
    first, rest = REPLY.split(b"\n\n", 1)
    pieces = [
        packer.compress(b'data: {"choices": [{"delta": {"content": "b"}}]}\n\n') + packer.flush(zlib.Z_SYNC_FLUSH)
    ]
    pieces.append(packer.compress(first + b"\n\n" + rest) + packer.flush())

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\nconnection: close\r\n\r\n" + pieces[0])
        await more.wait()
        writer.write(pieces[1])
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with HttpClient("test") as client:
        stream = compatible(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", client).stream(QUESTION)
        assert await stream.read() == [Delta(content="b")]
        more.set()
        assert [type(event) for event in await stream.read()] == [Delta, Finish]
        await stream.aclose()
    server.close()
    await server.wait_closed()


PATHS = {
    "openai": "/v1/chat/completions",
    "anthropic": "/v1/messages",
    "ollama": "/api/chat",
}
MESSAGE = b'{"type": "message", "content": [{"type": "text", "text": "a"}], "stop_reason": "end_turn"}'
BODIES = {"openai": REPLY, "anthropic": MESSAGE, "ollama": b'{"message": {"content": "a"}, "done": true}'}


@pytest.mark.parametrize(
    ("kind", "suffix", "works"),
    [
        ("openai", "/v1", True),
        ("openai", "/v1/", True),
        ("openai", "/team%20a/v1", True),
        ("openai", "", False),
        ("openai", "/v1/chat/completions", True),
        ("anthropic", "", True),
        ("anthropic", "/", True),
        ("anthropic", "/proxy", True),
        ("anthropic", "/v1", True),
        ("anthropic", "/v1/messages", True),
        ("ollama", "", True),
        ("ollama", "/ollama/", True),
        ("ollama", "/v1", True),
        ("ollama", "/api", True),
    ],
)
async def test_a_base_url_works_or_the_error_names_it(kind: str, suffix: str, works: bool) -> None:
    def answer(path: str, _number: int) -> bytes:
        prefix = {"/proxy": "/proxy", "/ollama/": "/ollama", "/team%20a/v1": "/team%20a"}.get(suffix, "")
        if path == prefix + PATHS[kind]:
            return response(BODIES[kind])
        return response(b'{"type": "error", "error": {"type": "not_found_error", "message": "Not Found"}}', "404 No")

    async with upstream(answer) as server, HttpClient("test") as client:
        url = server.url + suffix
        settings = {
            "openai": lambda: OpenAISettings(base_url=url),
            "anthropic": lambda: AnthropicSettings(base_url=url),
            "ollama": lambda: OllamaSettings(base_url=url),
        }[kind]()
        provider = build_provider("p", settings, client)
        if works:
            assert await ask(provider) == "a"
            return
        with pytest.raises(HeadwaterError) as caught:
            await ask(provider)
    assert caught.value.reason is Reason.PROVIDER_UNAVAILABLE
    assert "base URL" in caught.value.message
