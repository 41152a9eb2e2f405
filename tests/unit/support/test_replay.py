"""The replay server, seen by a client that reads raw bytes from a socket, and by httpx."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise

import httpx
import pytest

from tests.support.upstream.fixtures import RECORDED, Fixture, load_fixtures
from tests.support.upstream.replay import HOLD_HEAD, Record, ReplayServer, Response, choose

CHAT = "/v1/chat/completions"
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts no one, and so has no certificates to read


@asynccontextmanager
async def connected(server: ReplayServer) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, port = server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.close()


def request(model: str, path: str = CHAT, method: str = "POST") -> bytes:
    body = json.dumps({"model": model}).encode()
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def raw_answer(server: ReplayServer, asked: bytes) -> bytes:
    async with connected(server) as (reader, writer):
        writer.write(asked.replace(b"Host: x", b"Host: x\r\nConnection: close"))
        return await reader.read()


def asked(method: str, path: str, body: object) -> Record:
    return Record(method, path, {}, body, 1)


def test_all_81_fixtures_are_there() -> None:
    assert len(load_fixtures()) == 81


@pytest.mark.parametrize("fixture", load_fixtures().values(), ids=lambda f: f.name)
async def test_a_fixture_reaches_a_client_byte_for_byte(fixture: Fixture) -> None:
    method, path = fixture.about["endpoint"].split(" ", 1)
    async with ReplayServer() as server, httpx.AsyncClient(base_url=server.url, verify=NO_TLS) as client:
        received = b""
        cut = False
        async with client.stream(method, path, json={"model": f"m@{fixture.name}"}) as answer:
            try:
                async for data in answer.aiter_raw():
                    received += data
            except httpx.RemoteProtocolError:
                cut = True
        assert answer.status_code == fixture.about["status"]
        for name, value in fixture.about["headers"].items():
            assert answer.headers[name] == value
        assert received == fixture.body
        assert cut == (fixture.about["end"] == "cut")
        (record,) = server.records
        assert (record.case, record.pieces_sent, record.finished) == (fixture.name, len(fixture.pieces()), True)
        assert record.closed_at is None


async def test_each_piece_of_a_chunked_fixture_is_one_http_chunk() -> None:
    fixture = load_fixtures()["openai-utf8-split"]
    async with ReplayServer() as server:
        answer = await raw_answer(server, request("x@openai-utf8-split"))
    _, _, body = answer.partition(b"\r\n\r\n")
    assert body == b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in fixture.pieces()) + b"0\r\n\r\n"


async def test_a_cut_fixture_ends_without_the_last_chunk() -> None:
    async with ReplayServer() as server:
        assert not (await raw_answer(server, request("x@openai-cut"))).endswith(b"0\r\n\r\n")


async def test_a_reset_fixture_ends_with_a_reset_after_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    fixture = load_fixtures()["openai-cut"]
    reset = Fixture("openai-cut", fixture.body, {**fixture.about, "end": "reset"})
    monkeypatch.setitem(load_fixtures(), "openai-cut", reset)
    async with ReplayServer() as server, connected(server) as (reader, writer):
        writer.write(request("x@openai-cut"))
        await reader.readuntil(fixture.pieces()[-1])
        with pytest.raises(ConnectionResetError):
            await reader.read()


@pytest.mark.parametrize("folder", ["llamacpp-smollm2", "special", "tmpl-chatml_tools_oneshot"])
async def test_recorded_responses_are_sent_verbatim_and_the_connection_is_closed(folder: str) -> None:
    paths = sorted((RECORDED / "captures" / folder).glob("*.response.raw"))
    assert paths
    async with ReplayServer() as server:
        for path in paths:
            async with connected(server) as (reader, writer):
                writer.write(request(f"m@recorded:{folder}/{path.name.removesuffix('.response.raw')}"))
                assert await reader.read() == path.read_bytes()


@pytest.mark.parametrize("model", ["@openai-plain", "gpt-4o@openai-plain", "openai/openai-plain", "x:y+openai-plain"])
def test_the_model_names_the_fixture(model: str) -> None:
    assert choose(asked("POST", CHAT, {"model": model})).name == "openai-plain"


def test_a_base_path_before_the_endpoint_does_not_matter() -> None:
    assert choose(asked("POST", "/proxy" + CHAT, {"model": "@openai-plain"})).name == "openai-plain"


def test_a_get_without_a_name_gets_the_default_of_its_endpoint() -> None:
    assert choose(asked("GET", "/api/ps", "")).name == "ollama-ps"


def test_a_name_of_another_endpoint_gives_way_to_the_default() -> None:
    assert choose(asked("POST", "/api/show", {"model": "llama@ollama-chat-plain"})).name == "ollama-show"


def test_a_get_with_one_fixture_needs_no_default() -> None:
    path = load_fixtures()["openai-responses-resume"].about["endpoint"].removeprefix("GET ")
    assert choose(asked("GET", f"{path}?stream=true", "")).name == "openai-responses-resume"


@pytest.mark.parametrize(
    ("model", "path"),
    [("gpt-4o", CHAT), ("x@openai-plain", "/v1/messages"), ("x@no-such", CHAT), ("x@recorded:../x", CHAT), (3, CHAT)],
)
def test_what_names_no_response_gets_a_404_that_says_why(model: object, path: str) -> None:
    response: Response = choose(asked("POST", path, {"model": model}))
    assert response.head.startswith(b"HTTP/1.1 404 ")
    assert b"replay: no " in response.pieces[0]


async def test_a_connection_serves_several_requests_and_the_records_keep_them() -> None:
    async with ReplayServer() as server, httpx.AsyncClient(base_url=server.url, verify=NO_TLS) as client:
        for number in range(3):
            answer = await client.post(CHAT, json={"model": "x@openai-plain", "n": number}, headers={"X-Test": "1"})
            assert answer.status_code == 200
        assert [r.body["n"] for r in server.records] == [0, 1, 2]
        assert {r.headers["x-test"] for r in server.records} == {"1"}
        assert {r.connection for r in server.records} == {1}
        assert server.open_connections == 1


async def test_delay_comes_before_each_piece() -> None:
    async with ReplayServer(delay=0.02) as server:
        await raw_answer(server, request("x@openai-plain"))
        (record,) = server.records
    times = [record.received_at, *record.sent_at]
    assert len(times) > 2
    assert all(later - earlier >= 0.019 for earlier, later in pairwise(times))


async def test_hold_sends_so_many_pieces_and_notes_when_the_client_leaves() -> None:
    pieces = load_fixtures()["openai-plain"].pieces()
    async with ReplayServer(hold=2) as server, connected(server) as (reader, writer):
        writer.write(request("x@openai-plain"))
        await reader.readuntil(pieces[1])
        record = await server.wait_record()
        assert (record.pieces_sent, record.over.is_set()) == (2, False)
        left = time.monotonic()
        writer.close()
        closed = await server.wait_closed(record)
    assert left <= closed <= time.monotonic()
    assert (record.finished, record.pieces_sent) == (False, 2)


async def test_hold_beyond_the_last_piece_keeps_the_end_back() -> None:
    async with ReplayServer(hold=1000) as server, connected(server) as (reader, writer):
        writer.write(request("x@openai-plain"))
        await reader.readuntil(load_fixtures()["openai-plain"].pieces()[-1])
        writer.close()
        await server.wait_closed(server.records[0])


async def test_hold_head_keeps_even_the_head_back() -> None:
    async with ReplayServer(hold=HOLD_HEAD) as server, connected(server) as (reader, writer):
        writer.write(request("x@openai-plain"))
        record = await server.wait_record()
        writer.close()
        await server.wait_closed(record)
        assert await reader.read() == b""


async def test_a_client_that_stays_to_the_end_did_not_leave_early() -> None:
    async with ReplayServer() as server:
        await raw_answer(server, request("x@openai-plain"))
        with pytest.raises(AssertionError, match="did not leave early"):
            await server.wait_closed(server.records[0])


async def test_leaving_the_context_closes_a_held_connection() -> None:
    async with AsyncExitStack() as clients:
        async with ReplayServer(hold=0) as server:
            reader, writer = await clients.enter_async_context(connected(server))
            writer.write(request("x@openai-plain"))
            await reader.readuntil(b"\r\n\r\n")
            assert server.open_connections == 1
        assert await reader.read() == b""
        assert server.open_connections == 0


async def test_a_request_the_server_cannot_read_fails_the_test() -> None:
    with pytest.raises(ValueError, match="content-length"):
        async with ReplayServer() as server:
            await raw_answer(server, b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
