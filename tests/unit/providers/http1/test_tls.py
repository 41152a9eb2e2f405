"""Connections over TLS, with real certificates and servers that are at fault, on both event loops."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from headwater_server.providers.http1.connection import Site
from headwater_server.providers.http1.heads import request_head
from headwater_server.providers.http1.pool import Pool, speaks_http1
from tests.support.servers.certificates import Authority
from tests.support.upstream.asking import Follower, body_of
from tests.support.upstream.raw import RawServer, answers, raw_server, request

OK = b"HTTP/1.1 200 OK\r\n"
SHORT = OK + b"content-length: 2\r\n\r\nab"
HEAD = request_head("GET", "localhost", b"/", {}, None)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


def server_tls(authority: Authority, *names: str, expired: bool = False) -> ssl.SSLContext:
    pair = authority.issue("server", *names, expired=expired)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


@asynccontextmanager
async def pool_that_trusts(authority: Authority | None) -> AsyncIterator[Pool]:
    trusted = speaks_http1(ssl.create_default_context(cafile=authority.file)) if authority else None
    pool = Pool(trusted)
    try:
        yield pool
    finally:
        await pool.aclose()


def named(server: RawServer, host: str = "localhost") -> Site:
    return server.site._replace(host=host)


def test_a_connection_is_kept_and_says_which_name_and_protocol_it_wants(run, authority: Authority) -> None:
    names: list[str | None] = []
    protocols: list[str | None] = []
    context = server_tls(authority)
    context.sni_callback = lambda _, name, __: names.append(name)  # type: ignore[assignment]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        protocols.append(writer.get_extra_info("ssl_object").selected_alpn_protocol())
        while await request(reader):
            writer.write(SHORT)

    async def test() -> None:
        async with raw_server(serve, context) as server, pool_that_trusts(authority) as pool:
            for _ in range(3):
                assert await body_of(await pool.ask(named(server), HEAD, b"", 10)) == b"ab"
            assert server.connections == 1
        assert (names, protocols) == (["localhost"], ["http/1.1"])

    run(test)


@pytest.mark.parametrize(
    ("names", "expired", "trusts", "words"),
    [
        (["other.example"], False, True, "Hostname mismatch"),
        ([], True, True, "certificate has expired"),
        ([], False, False, "unable to get local issuer certificate"),
    ],
    ids=["wrong name", "expired", "unknown authority"],
)
def test_a_certificate_that_is_at_fault_is_refused(
    run, authority: Authority, names: list[str], expired: bool, trusts: bool, words: str
) -> None:
    context = server_tls(authority, *names, expired=expired)

    async def test() -> None:
        async with (
            raw_server(answers(SHORT), context) as server,
            pool_that_trusts(authority if trusts else None) as pool,
        ):
            with pytest.raises(ssl.SSLCertVerificationError, match=words):
                await pool.ask(named(server), HEAD, b"", 10)
            assert not pool._open

    run(test)


@pytest.mark.parametrize(
    "says", [b"", b"HTTP/1.1 400 Bad\r\n\r\n", bytes(range(256)) * 10], ids=["cut", "HTTP", "noise"]
)
def test_a_server_that_ends_the_handshake_is_an_error(run, authority: Authority, says: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await reader.read(100)
        writer.write(says)

    async def test() -> None:
        async with raw_server(serve) as server, pool_that_trusts(authority) as pool:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await pool.ask(named(server)._replace(is_tls=True), HEAD, b"", 10)

    run(test)


@pytest.mark.parametrize("leaves", [True, False], ids=["cancelled", "in time"])
def test_a_handshake_that_does_not_end_leaves_no_connection(run, authority: Authority, leaves: bool) -> None:
    begun = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await reader.read(100)
        begun.set()
        await reader.read()

    async def test() -> None:
        async with raw_server(serve) as server, pool_that_trusts(authority) as pool:
            site = named(server)._replace(is_tls=True)
            asking = asyncio.create_task(pool.ask(site, HEAD, b"", 60 if leaves else 0.2))
            await begun.wait()
            if leaves:
                asking.cancel()
            await asyncio.wait([asking])
            assert asking.cancelled() if leaves else isinstance(asking.exception(), TimeoutError)
            await server.has_left.wait()

    run(test)


def test_a_pause_holds_over_tls_and_nothing_is_lost(run, authority: Authority) -> None:
    size, written = 32 * 1024 * 1024, 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        nonlocal written
        await request(reader)
        writer.write(OK + b"content-length: %d\r\n\r\n" % size)
        for _ in range(size // 65536):
            writer.write(bytes(65536))
            await writer.drain()
            written += 65536
        await reader.read()

    async def test() -> None:
        async with raw_server(serve, server_tls(authority)) as server, pool_that_trusts(authority) as pool:
            answer = await pool.ask(named(server), HEAD, b"", 10)
            follower = Follower(answer, 100_000)
            answer.follow(follower)
            before = -1
            while written != before:
                before = written
                await asyncio.sleep(0.2)
            assert written < size
            assert sum(map(len, follower.pieces)) < 1024 * 1024
            follower.pauses_at = size + 1
            answer.resume()
            assert await follower.end is None
            assert b"".join(follower.pieces) == bytes(size)

    run(test)


def test_a_large_request_over_tls_comes_whole(run, authority: Authority) -> None:
    body = bytes(range(256)) * 4096 * 8

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        is_whole = (await request(reader)).endswith(b"\r\n\r\n" + body)
        writer.write(SHORT.replace(b"ab", b"ok" if is_whole else b"no"))

    async def test() -> None:
        async with raw_server(serve, server_tls(authority)) as server, pool_that_trusts(authority) as pool:
            head = request_head("POST", "localhost", b"/", {}, len(body))
            assert await body_of(await pool.ask(named(server), head, body, 10)) == b"ok"

    run(test)
