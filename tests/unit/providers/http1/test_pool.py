"""The connections of a pool: kept for a while, closed with it, and made in time or not at all."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from headwater_server.providers.http1 import pool as pools
from headwater_server.providers.http1.addresses import Addresses
from headwater_server.providers.http1.connection import Site
from headwater_server.providers.http1.errors import ClosedError
from headwater_server.providers.http1.heads import request_head
from headwater_server.providers.http1.pool import Pool
from tests.support.upstream.raw import answers, raw_server, request

SHORT = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab"
HEAD = request_head("GET", "host", b"/", {}, None)


async def ask(pool: Pool, site: Site, seconds: float = 10.0) -> bytes:
    answer = await pool.ask(site, HEAD, b"", seconds)
    text = b""
    while data := await answer.read():
        text += data
    return text


async def test_a_connection_is_closed_when_it_was_idle_for_long(monkeypatch) -> None:
    monkeypatch.setattr(pools, "KEEPALIVE_SECONDS", 0.05)
    async with raw_server(answers(*[SHORT] * 9)) as server:
        pool = Pool()
        assert await ask(pool, server.site) == b"ab"
        async with asyncio.timeout(10):
            await server.has_left.wait()
        assert await ask(pool, server.site) == b"ab"
        assert server.connections == 2
        await pool.aclose()


async def test_as_many_connections_as_requests_and_all_are_closed_with_the_pool() -> None:
    may_answer = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        while await request(reader):
            await may_answer.wait()
            writer.write(SHORT)

    async with raw_server(serve) as server:
        pool = Pool()
        asking = [asyncio.create_task(ask(pool, server.site)) for _ in range(50)]
        async with asyncio.timeout(10):
            while server.connections < 50:
                await asyncio.sleep(0.01)
            may_answer.set()
            assert await asyncio.gather(*asking) == [b"ab"] * 50
            assert await ask(pool, server.site) == b"ab"
            assert server.connections == 50
            await pool.aclose()
            while server.left < 50:
                await server.has_left.wait()
                server.has_left.clear()
        assert not pool._open


async def test_a_pool_that_is_closed_ends_the_answers_that_come() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\na")
        await reader.read()

    async with raw_server(serve) as server:
        pool = Pool()
        answer = await pool.ask(server.site, HEAD, b"", 10)
        assert await answer.read() == b"a"
        await pool.aclose()
        async with asyncio.timeout(10):
            await server.has_left.wait()


async def test_a_connection_that_is_not_made_in_time_is_an_error() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        full = []
        try:
            for _ in range(4):  # no more are taken
                one = socket.socket()
                one.setblocking(False)
                one.connect_ex(listening.getsockname())
                full.append(one)
            pool = Pool()
            with pytest.raises(TimeoutError):
                await ask(pool, Site("127.0.0.1", listening.getsockname()[1], False), 0.2)
            await pool.aclose()
        finally:
            for one in full:
                one.close()


async def test_where_nobody_listens_the_error_says_so() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        pool = Pool()
        with pytest.raises(ConnectionRefusedError):
            await ask(pool, Site("127.0.0.1", port, False))
        await pool.aclose()


async def test_the_second_address_is_tried_when_the_first_does_not_answer(monkeypatch) -> None:
    """192.0.2.1 is for documentation: nothing is there."""
    async with raw_server(answers(SHORT)) as server:
        asked: list[str] = []

        async def lookup(_: Addresses, host: str, port: int) -> list[object]:
            asked.append(host)
            return [
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", port)),
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
            ]

        monkeypatch.setattr(Addresses, "_ask", lookup)
        pool = Pool()
        site = server.site._replace(host="two.example")
        assert await asyncio.gather(ask(pool, site), ask(pool, site)) == [b"ab", b"ab"]
        assert asked == ["two.example"]
        await pool.aclose()


async def test_a_name_that_is_not_known_is_asked_for_again(monkeypatch) -> None:
    asked = 0

    async def lookup(_: Addresses, host: str, port: int) -> list[object]:
        nonlocal asked
        asked += 1
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(Addresses, "_ask", lookup)
    pool = Pool()
    for _ in range(2):
        with pytest.raises(socket.gaierror):
            await ask(pool, Site("no.example", 80, False))
    assert asked == 2
    await pool.aclose()


async def test_a_connection_that_is_closed_as_soon_as_it_is_made_is_an_error_of_the_connection(monkeypatch) -> None:
    loop = asyncio.get_running_loop()
    create = loop.create_connection

    async def create_and_lose(*given: Any, **more: Any) -> Any:
        transport, connection = await create(*given, **more)
        transport.abort()
        await asyncio.sleep(0.05)  # until nothing is left of its socket
        return transport, connection

    async with raw_server(answers(SHORT)) as server:
        pool = Pool()
        monkeypatch.setattr(loop, "create_connection", create_and_lose, raising=False)
        with pytest.raises(ClosedError):
            await ask(pool, server.site)
        await pool.aclose()
