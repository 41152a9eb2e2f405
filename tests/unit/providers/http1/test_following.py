"""The body of an answer that is followed: each piece as it comes, and a pause that holds."""

from __future__ import annotations

import asyncio

from headwater_server.providers.http1.errors import CutError
from tests.support.upstream.asking import Follower, ask, asking
from tests.support.upstream.raw import answers, request

OK = b"HTTP/1.1 200 OK\r\n"
SHORT = OK + b"content-length: 2\r\n\r\nab"


def test_a_pause_stops_the_server_and_nothing_is_lost(run) -> None:
    size, written = 64 * 1024 * 1024, 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        nonlocal written
        await request(reader)
        writer.write(OK + b"content-length: %d\r\n\r\n" % size)
        for _ in range(size // 65536):
            writer.write(b"x" * 65536)
            await writer.drain()
            written += 65536
        await reader.read()

    async def test() -> None:
        async with asking(serve) as (pool, server):
            answer = await ask(pool, server)
            follower = Follower(answer, 100_000)
            answer.follow(follower)
            before = -1
            while written != before:  # until the sockets are full
                before = written
                await asyncio.sleep(0.2)
            assert written < size
            assert sum(map(len, follower.pieces)) < 100_000 + 1024 * 1024
            follower.pauses_at = size + 1
            answer.resume()
            assert await follower.end is None
            assert sum(map(len, follower.pieces)) == size

    run(test)


def test_a_follower_that_pauses_at_once_stops_what_waited_too(run) -> None:
    written = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        nonlocal written
        await request(reader)
        writer.write(OK + b"content-length: %d\r\n\r\n" % 2**40)
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()
            written += 65536

    async def test() -> None:
        async with asking(serve) as (pool, server):
            answer = await ask(pool, server)
            while not answer._paused:  # more waits than is held for a late follower
                await asyncio.sleep(0.01)
            follower = Follower(answer, 1)
            answer.follow(follower)
            before = -1
            while written != before:
                before = written
                await asyncio.sleep(0.2)
            assert sum(map(len, follower.pieces)) < 1024 * 1024
            await answer.aclose()

    run(test)


def test_pieces_that_came_in_one_read_are_one(run) -> None:
    chunks = b"".join(b"3\r\nab%d\r\n" % (number % 10) for number in range(100))

    async def test() -> None:
        text = OK + b"transfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
        async with asking(answers(text)) as (pool, server):
            answer = await ask(pool, server)
            assert len(await answer.read()) == 300

    run(test)


def test_a_follower_that_comes_late_gets_all_and_the_end(run) -> None:
    async def test() -> None:
        for text, error in ((SHORT, None), (OK + b"content-length: 9\r\n\r\nab", CutError)):
            async with asking(answers(text, closes=True)) as (pool, server):
                answer = await ask(pool, server)
                await server.has_left.wait()
                await asyncio.sleep(0.05)  # not awaited by the test: only so that the end has been seen
                follower = Follower(answer, 1000)
                answer.follow(follower)
                end = await follower.end
                assert b"".join(follower.pieces) == b"ab"
                assert end is None if error is None else isinstance(end, error)

    run(test)
