"""Asks a raw server over a pool, and follows its answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from headwater_server.providers.http1.answer import PushedAnswer
from headwater_server.providers.http1.heads import request_head
from headwater_server.providers.http1.pool import Pool
from tests.support.upstream.raw import RawServer, Serve, raw_server

HEAD = request_head("POST", "host", b"/path?a=b", {"x-a": "b"}, 2)
SECONDS = 10.0


@asynccontextmanager
async def asking(serve: Serve) -> AsyncIterator[tuple[Pool, RawServer]]:
    async with raw_server(serve) as server:
        pool = Pool()
        try:
            yield pool, server
        finally:
            await pool.aclose()


async def ask(pool: Pool, server: RawServer, body: bytes = b"{}") -> PushedAnswer:
    head = HEAD if len(body) == 2 else request_head("POST", "host", b"/", {}, len(body))
    return await pool.ask(server.site, head, body, SECONDS)


async def body_of(answer: PushedAnswer) -> bytes:
    text = b""
    while data := await answer.read():
        text += data
    return text


class Follower:
    """Follows a body; pauses it at a size."""

    def __init__(self, answer: PushedAnswer, pauses_at: int) -> None:
        self.answer, self.pauses_at = answer, pauses_at
        self.pieces: list[bytes] = []
        self.end: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    def body_arrived(self, data: bytes) -> None:
        self.pieces.append(data)
        if sum(map(len, self.pieces)) >= self.pauses_at:
            self.answer.pause()

    def body_ended(self, error: BaseException | None) -> None:
        self.end.set_result(error)
