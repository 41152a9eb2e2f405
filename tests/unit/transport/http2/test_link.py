"""All bytes for one caller in one round of the event loop go out in one piece."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from headwater_server.transport.http2.headers import Fields
from headwater_server.transport.http2.limits import Limits
from headwater_server.transport.http2.link import MOST_UNWRITTEN_BYTES, Link
from headwater_server.transport.http2.stream import Stream


class Socket:
    """Keeps what is written, as the transport of a connection without TLS."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.is_closed = False

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else None

    def write(self, data: bytes) -> None:
        assert not self.is_closed
        self.pieces.append(data)

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True


class Owner:
    def link_made(self, link: Link) -> bool:
        return True

    def link_lost(self, link: Link) -> None: ...

    def stream_opened(self, link: Link, stream: Stream, fields: Fields) -> None: ...


@pytest.fixture
async def link() -> Any:
    link = Link(Owner(), Limits(), memoryview(bytearray(100)))  # type: ignore[arg-type]
    link.connection_made(Socket())
    await asyncio.sleep(0)
    link._transport.pieces.clear()
    yield link
    link.connection_lost(None)


async def test_messages_of_one_round_go_out_together(link: Link) -> None:
    link.write(b"of stream 1, ")
    link.write(b"of stream 3")
    assert link._transport.pieces == []
    await asyncio.sleep(0)
    assert link._transport.pieces == [b"of stream 1, of stream 3"]
    link.write(b"later")
    await asyncio.sleep(0)
    assert link._transport.pieces == [b"of stream 1, of stream 3", b"later"]


async def test_bytes_that_are_not_to_wait_go_out_at_once_with_those_before(link: Link) -> None:
    link.write(b"a message, ")
    link.write(b"and the status")
    link.flush()
    await asyncio.sleep(0)
    assert link._transport.pieces == [b"a message, and the status"]


async def test_many_bytes_do_not_wait_for_the_end_of_the_round(link: Link) -> None:
    piece = b"x" * (MOST_UNWRITTEN_BYTES // 2)
    for _ in range(5):
        link.write(piece)
    assert sum(map(len, link._transport.pieces)) >= 3 * len(piece)
    await asyncio.sleep(0)
    assert b"".join(link._transport.pieces) == 5 * piece


async def test_bytes_that_were_written_go_out_before_the_end(link: Link) -> None:
    link.write(b"goodbye")
    link.close()
    assert link._transport.pieces == [b"goodbye"]
    await asyncio.sleep(0)
    assert link._transport.pieces == [b"goodbye"]


async def test_nothing_is_written_to_a_caller_who_has_gone_in_the_same_round(link: Link) -> None:
    link.write(b"hello")
    link._transport.close()
    await asyncio.sleep(0)
    assert link._transport.pieces == []
