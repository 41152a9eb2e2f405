"""Any request at the admin address ends soon, holds up no other, and leaves nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from http import HTTPStatus

import pytest
import structlog

from headwater_server.telemetry import admin
from headwater_server.telemetry.admin import MAX_CONNECTIONS, Answer, serving

GOOD = b"GET /page?x=1 HTTP/1.1\r\nhost: a\r\n\r\n"


async def page() -> Answer:
    return Answer(HTTPStatus.OK, b"text")


async def broken() -> Answer:
    raise ZeroDivisionError


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with serving("127.0.0.1", 0, {"/page": page, "/broken": broken}) as port:
        yield port


async def ask(port: int, request: bytes, *, ends: bool = False) -> bytes:
    """All that the server says until it closes the connection; nothing where it breaks that off."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        if ends:
            writer.write_eof()
        return await rest_of(reader)
    finally:
        writer.transport.abort()


async def rest_of(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(5):
        try:
            return await reader.read()
        except ConnectionError:
            return b""


def connections() -> int:
    """How many the server has."""
    return sum(task.get_name() == "headwater admin" for task in asyncio.all_tasks())


def status(answer: bytes) -> int:
    return int(answer.split()[1])


async def test_a_page_is_answered_and_the_connection_closed(port):
    head, _, body = (await ask(port, GOOD)).partition(b"\r\n\r\n")
    assert (status(head), body) == (200, b"text")
    assert b"connection: close" in head.lower()


async def test_head_is_answered_without_a_body(port):
    head, _, body = (await ask(port, GOOD.replace(b"GET", b"HEAD"))).partition(b"\r\n\r\n")
    assert (status(head), body) == (200, b"")
    assert b"content-length: 4" in head.lower()


@pytest.mark.parametrize(
    ("request_bytes", "expected"),
    [
        (b"POST /page HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n", 405),
        (b"GET /../etc/passwd HTTP/1.1\r\nhost: a\r\n\r\n", 404),
        (b"GET http://a/page HTTP/1.1\r\nhost: a\r\n\r\n", 404),
        (b"GET /page\r\n\r\n", 400),
        (b"GET /page HTTP/1.1\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 404),
        (b"GET /page HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n", 400),
        (b"GET /page HTTP/1.1\r\nhost: a\r\nx: " + b"x" * 20_000, 431),
        (b"x" * 20_000, 431),
        (b"\0" * 100 + b"\r\n\r\n", 400),
    ],
)
async def test_a_request_that_is_wrong_gets_its_status(port, request_bytes, expected):
    assert status(await ask(port, request_bytes)) == expected
    assert status(await ask(port, GOOD)) == 200


async def test_a_request_without_an_end_is_broken_off(port):
    assert await ask(port, b"GET /" + b"x" * 20_000_000) in (b"", await ask(port, b"x" * 20_000))
    assert status(await ask(port, GOOD)) == 200


async def test_a_caller_that_leaves_in_the_middle_harms_no_other(port):
    assert status(await ask(port, b"GET /pa", ends=True)) == 400
    assert await ask(port, b"", ends=True) == b""
    assert status(await ask(port, GOOD)) == 200


async def test_a_page_that_fails_is_a_fault_in_the_log_and_harms_no_other(port):
    with structlog.testing.capture_logs() as events:
        assert await ask(port, GOOD.replace(b"page", b"broken")) == b""
        assert status(await ask(port, GOOD)) == 200
    assert [(event["event"], event["error"]) for event in events] == [("fault", "ZeroDivisionError")]


async def test_callers_that_send_nothing_are_closed_in_time_and_further_ones_at_once(monkeypatch):
    monkeypatch.setattr(admin, "CONNECTION_SECONDS", 0.3)
    async with serving("127.0.0.1", 0, {"/page": page}) as port:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MAX_CONNECTIONS)]
        assert await ask(port, GOOD) == b""
        assert [await rest_of(reader) for reader, _ in silent] == [b""] * MAX_CONNECTIONS
        for _, writer in silent:
            writer.transport.abort()
        assert status(await ask(port, GOOD)) == 200


async def test_a_caller_that_does_not_read_is_closed_in_time(monkeypatch):
    monkeypatch.setattr(admin, "CONNECTION_SECONDS", 0.3)

    async def large() -> Answer:
        return Answer(HTTPStatus.OK, b"x" * 50_000_000)

    async with serving("127.0.0.1", 0, {"/page": large}) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
        writer.write(GOOD)
        async with asyncio.timeout(5):
            while not connections():
                await asyncio.sleep(0)
            while connections():
                await asyncio.sleep(0.01)
        writer.transport.abort()


async def test_the_end_of_the_server_ends_its_connections():
    async with serving("127.0.0.1", 0, {"/page": page}) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /pa")
        while not connections():
            await asyncio.sleep(0)
    assert await rest_of(reader) == b""
    writer.transport.abort()
