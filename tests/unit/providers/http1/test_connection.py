"""One connection to a server: every way in which an answer can come, end and break, on both event loops."""

from __future__ import annotations

import asyncio

import pytest

from headwater_server.providers.http1.connection import MAX_HEAD_BYTES, MAX_HEADERS, MAX_INTERIM, PIECE_BYTES
from headwater_server.providers.http1.errors import BadAnswerError, ClosedError, CutError
from headwater_server.providers.http1.heads import request_head
from tests.support.upstream.asking import ask, asking, body_of
from tests.support.upstream.raw import answers, request

OK = b"HTTP/1.1 200 OK\r\n"
SHORT = OK + b"content-length: 2\r\n\r\nab"


WHOLE = {
    "length": (OK + b"content-length: 2\r\n\r\nab", b"ab"),
    "no body": (OK + b"content-length: 0\r\n\r\n", b""),
    "no content": (b"HTTP/1.1 204 No\r\n\r\n", b""),
    "chunks": (OK + b"transfer-encoding: chunked\r\n\r\n1\r\na\r\n1;x=y\r\nb\r\n0\r\n\r\n", b"ab"),
    "trailers": (OK + b"transfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nx-sum: 1\r\nx-a: b\r\n\r\n", b"ab"),
    "to the end": (OK + b"content-type: text/plain\r\n\r\nab", b"ab"),
    "old": (b"HTTP/1.0 200 OK\r\n\r\nab", b"ab"),
    "interim": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nlink: x\r\n\r\n" + SHORT, b"ab"),
    "bare line feeds": (b"HTTP/1.1 200 OK\ncontent-length: 2\n\nab", b"ab"),
    "no reason": (b"HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nab", b"ab"),
}


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("splits", [False, True])
def test_an_answer_is_whole_however_it_ends_and_however_it_is_cut_into_reads(run, name: str, splits: bool) -> None:
    text, body = WHOLE[name]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await request(reader)
        for piece in [text[i : i + 1] for i in range(len(text))] if splits else [text]:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)

    async def test() -> None:
        async with asking(serve) as (pool, server):
            answer = await ask(pool, server)
            assert await body_of(answer) == body
            assert "link" not in answer.headers
            assert answer.status in (200, 204)

    run(test)


BROKEN = {
    "nothing": (b"", ClosedError, b""),
    "half a head": (OK + b"content-le", CutError, b""),
    "half a body": (OK + b"content-length: 9\r\n\r\nab", CutError, b"ab"),
    "half of the chunks": (OK + b"transfer-encoding: chunked\r\n\r\n2\r\nab\r\n", CutError, b"ab"),
    "no HTTP": (b"220 mail.example ESMTP\r\n", BadAnswerError, b""),
    "HTTP/2": (b"\0\0\x12\x04\0\0\0\0\0", BadAnswerError, b""),
    "bad chunks": (OK + b"transfer-encoding: chunked\r\n\r\n2\r\nab\r\nzz\r\n", BadAnswerError, b"ab"),
    "another protocol": (b"HTTP/1.1 101 Now\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nab", BadAnswerError, b""),
    "many headers": (OK + b"x: y\r\n" * (MAX_HEADERS + 1) + b"\r\n", BadAnswerError, b""),
    "a long header": (OK + b"x: " + b"y" * (MAX_HEAD_BYTES + 20_000), BadAnswerError, b""),
    "a long trailer": (
        OK + b"transfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nx: " + b"y" * (MAX_HEAD_BYTES + 20_000),
        BadAnswerError,
        b"ab",
    ),
    "interim without end": (b"HTTP/1.1 100 Continue\r\n\r\n" * (MAX_INTERIM + 1), ClosedError, b""),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_came_before_a_fault_is_given_and_then_the_fault(run, name: str) -> None:
    text, kind, body = BROKEN[name]

    async def test() -> None:
        async with asking(answers(text, closes=True)) as (pool, server):
            found = b""
            with pytest.raises(kind):
                answer = await ask(pool, server)
                while data := await answer.read():
                    found += data
            assert found == body

    run(test)


@pytest.mark.parametrize(
    ("text", "is_kept"),
    [
        (SHORT, True),
        (OK + b"transfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", True),
        (OK + b"connection: close\r\ncontent-length: 2\r\n\r\nab", False),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nab", False),
        (b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nab", True),
        (SHORT + SHORT, False),
        (SHORT + b"garbage", False),
    ],
    ids=["length", "chunks", "closes", "old", "old and kept", "two answers", "garbage"],
)
def test_a_connection_is_kept_where_both_sides_keep_it(run, text: bytes, is_kept: bool) -> None:
    async def test() -> None:
        async with asking(answers(text, text)) as (pool, server):
            for _ in range(2):
                assert await body_of(await ask(pool, server)) == b"ab"
            assert server.connections == (1 if is_kept else 2)

    run(test)


def test_an_answer_that_nobody_asked_for_closes_the_connection(run) -> None:
    more = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        await request(reader)
        writer.write(SHORT)
        if number == 0:
            await more.wait()
            writer.write(SHORT)
            assert await reader.read() == b""

    async def test() -> None:
        async with asking(serve) as (pool, server):
            assert await body_of(await ask(pool, server)) == b"ab"
            more.set()
            await server.has_left.wait()
            assert await body_of(await ask(pool, server)) == b"ab"
            assert server.connections == 2

    run(test)


def test_a_kept_connection_that_the_server_closes_costs_nothing(run) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await request(reader)
        writer.write(SHORT)
        await request(reader)  # and closes without a word

    async def test() -> None:
        async with asking(serve) as (pool, server):
            for number in range(3):
                assert await body_of(await ask(pool, server)) == b"ab", number
            assert server.connections == 3

    run(test)


@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 2"])
def test_no_other_request_is_sent_twice(run, says: bytes) -> None:
    """One over a new connection, and one whose answer has begun."""
    asked = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        nonlocal asked
        if says:
            await request(reader)
            writer.write(SHORT)
        await request(reader)
        asked += 1
        writer.write(says)

    async def test() -> None:
        async with asking(serve) as (pool, server):
            if says:
                await body_of(await ask(pool, server))
            with pytest.raises(CutError if says else ClosedError):
                await ask(pool, server)
        assert asked == 1

    run(test)


def test_a_long_request_comes_whole_and_others_are_served_meanwhile(run) -> None:
    body = bytes(range(256)) * (5 * PIECE_BYTES // 256) + b"x"
    got: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        while data := await request(reader):
            got.append(data.partition(b"\r\n\r\n")[2])
            writer.write(SHORT)

    async def test() -> None:
        async with asking(serve) as (pool, server):
            for _ in range(2):
                assert await body_of(await ask(pool, server, body)) == b"ab"
            assert got == [body, body]
            assert server.connections == 1

    run(test)


def test_a_long_request_that_is_refused_early_is_answered_and_its_connection_not_kept(run) -> None:
    refused = b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(refused)
        await asyncio.Event().wait()

    async def test() -> None:
        async with asking(serve) as (pool, server):
            for _ in range(2):
                answer = await ask(pool, server, b"x" * 32 * 1024 * 1024)
                assert (answer.status, await body_of(answer)) == (413, b"no")
            assert server.connections == 2

    run(test)


@pytest.mark.parametrize("moment", ["before the head", "in the body", "in a long request"])
def test_an_asker_that_leaves_closes_the_connection_at_once(run, moment: str) -> None:
    asked = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        if moment == "in the body":
            writer.write(OK + b"content-length: 9\r\n\r\na")
        if moment != "in a long request":
            await reader.read()
        else:
            while True:  # the client has written more than a socket takes
                await reader.readexactly(1)
                await asyncio.sleep(0)

    async def test() -> None:
        async with asking(serve) as (pool, server):
            size = 32 * 1024 * 1024 if moment == "in a long request" else 2
            task = asyncio.create_task(ask(pool, server, b"x" * size))
            await asked.wait()
            if moment == "in the body":
                answer = await task
                assert await answer.read() == b"a"
                await answer.aclose()
                assert await answer.read() == b""
            else:
                task.cancel()
                await asyncio.wait([task])
            if moment != "in a long request":
                await server.has_left.wait()
            assert not pool._open or not any(each.is_open for each in pool._open)

    run(test)


def test_the_request_is_as_it_was_given(run) -> None:
    got: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        got.append(await request(reader))
        writer.write(SHORT)

    async def test() -> None:
        async with asking(serve) as (pool, server):
            await body_of(await ask(pool, server))
        assert got == [b"POST /path?a=b HTTP/1.1\r\nhost: host\r\nx-a: b\r\ncontent-length: 2\r\n\r\n{}"]

    run(test)


@pytest.mark.parametrize("value", ["a\r\nx-b: c", "a\n", "\ra", "a\0", "é"])
def test_a_header_that_could_pass_for_two_is_no_header(value: str) -> None:
    with pytest.raises(ValueError, match=r"line break|ascii"):
        request_head("GET", "host", b"/", {"x-a": value}, None)


def test_an_asker_that_leaves_at_any_step_leaves_nothing_behind(run) -> None:
    async def test() -> None:
        async with asking(answers(SHORT)) as (pool, server):
            for steps in range(40):
                task = asyncio.create_task(ask(pool, server))
                for _ in range(steps):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
        assert not pool._open

    run(test)
