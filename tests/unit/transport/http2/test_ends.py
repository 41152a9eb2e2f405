"""How calls, connections and the server end when something is odd: nothing hangs, and nothing stays."""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from headwater_server.transport.http2.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    FrameReader,
    frame,
    settings,
)
from headwater_server.transport.http2.limits import Limits
from headwater_server.transport.http2.server import Server
from tests.support.fronts.frames import REQUEST, block

PATIENCE = 10.0


def request_of(method: str) -> list[tuple[bytes, bytes]]:
    return [(name, f"/odd.Service/{method}".encode() if name == b":path" else value) for name, value in REQUEST]


def raw_request(method: str, stream: int) -> bytes:
    head = frame(HEADERS, END_HEADERS, stream, block(request_of(method)))
    return head + frame(DATA, END_STREAM, stream, bytes(5))


class Odd:
    """A service that does not end at once.

    Attributes:
        running: how many handlers have begun and not ended.
    """

    def __init__(self) -> None:
        self.running = 0
        self.ends = asyncio.Event()

    def handlers(self) -> dict[str, Any]:
        async def stubborn(request: bytes, context: Any) -> None:
            self.running += 1
            try:
                await context.write(b"begun")
                await asyncio.Event().wait()
            finally:
                await self.ends.wait()
                self.running -= 1

        return {"Stubborn": grpc.unary_stream_rpc_method_handler(stubborn)}


def odd_server(limits: Limits | None = None) -> tuple[Server, Odd]:
    server, odd = Server((), limits or Limits()), Odd()
    server.add_registered_method_handlers("odd.Service", odd.handlers())
    return server, odd


@pytest.fixture
async def odd() -> AsyncIterator[tuple[Server, Odd, int]]:
    server, service = odd_server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield server, service, port
    service.ends.set()
    await server.stop(None)


async def test_a_call_that_comes_while_the_server_ends_the_others_does_not_hold_it_up(
    odd: tuple[Server, Odd, int],
) -> None:
    server, service, port = odd
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(PREFACE + settings(()) + raw_request("Stubborn", 1))
    while service.running < 1:
        assert await asyncio.wait_for(reader.read(65_536), PATIENCE)
    stopping = asyncio.create_task(server.stop(0))
    await read_until(reader, GOAWAY)
    writer.write(raw_request("Stubborn", 3))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(stopping), 0.3)
    assert service.running == 1
    service.ends.set()
    await asyncio.wait_for(stopping, PATIENCE)
    writer.close()


async def read_until(reader: asyncio.StreamReader, kind: int) -> None:
    frames = FrameReader()
    while True:
        data = await asyncio.wait_for(reader.read(65_536), PATIENCE)
        assert data
        if any(found[0] == kind for found in frames.read(data)):
            return


async def test_a_call_that_has_its_end_and_a_peer_that_takes_nothing_ends_at_its_deadline() -> None:
    server, _ = odd_server()

    async def cut(request: bytes, context: Any) -> bytes:
        context.call.try_send(bytes(100_000))
        await context.abort(grpc.StatusCode.NOT_FOUND, "no")
        raise AssertionError

    server.add_registered_method_handlers("cut.Service", {"Cut": grpc.unary_unary_rpc_method_handler(cut)})
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    fields = [(name, b"/cut.Service/Cut" if name == b":path" else value) for name, value in REQUEST]
    head = block([*fields, (b"grpc-timeout", b"300m")])
    writer.write(
        PREFACE + settings([(4, 0)]) + frame(HEADERS, END_HEADERS, 1, head) + frame(DATA, END_STREAM, 1, bytes(5))
    )
    await read_until(reader, 3)
    writer.close()
    await server.stop(None)


async def test_a_reset_of_tcp_in_mid_write_ends_the_calls(odd: tuple[Server, Odd, int]) -> None:
    _, service, port = odd
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(PREFACE + settings(()) + b"".join(raw_request("Stubborn", id) for id in range(1, 41, 2)))
    while service.running < 20:
        await asyncio.wait_for(reader.read(65_536), PATIENCE)
    service.ends.set()
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    writer.transport.abort()
    async with asyncio.timeout(PATIENCE):
        while service.running:
            await asyncio.sleep(0.01)


async def test_messages_behind_the_only_request_of_a_call_are_not_held(odd: tuple[Server, Odd, int]) -> None:
    server, service, port = odd
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = frame(HEADERS, END_HEADERS, 1, block([*request_of("Stubborn"), (b"grpc-encoding", b"gzip")]))
    bomb = gzip.compress(bytes(3_000_000))
    behind = frame(DATA, 0, 1, b"\1" + struct.pack(">I", len(bomb)) + bomb)
    begun = frame(DATA, 0, 1, bytes(4) + b"\xff" + bytes(100))
    writer.write(PREFACE + settings(()) + head + frame(DATA, 0, 1, bytes(5)) + behind)
    while service.running < 1:
        assert await asyncio.wait_for(reader.read(65_536), PATIENCE)
    assert server._held.bytes == 0
    writer.write(behind + begun + frame(PING, 0, 0, bytes(8)))
    await read_until(reader, PING)
    assert server._held.bytes == 0
    writer.close()
