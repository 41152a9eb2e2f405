"""Handshakes of TLS that do not end, end late or end odd: they count, and take no place of other callers."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from headwater_server.transport.http2 import listening
from headwater_server.transport.http2.frames import PREFACE, settings
from headwater_server.transport.http2.limits import Limits
from headwater_server.transport.http2.server import Server

PATIENCE = 10.0
PEM = Path(__file__).parents[3] / "support" / "tls"


def of_server() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(PEM / "certificate.pem", PEM / "key.pem")
    context.set_alpn_protocols(["h2"])
    return context


class Client:
    """A client with TLS whose every byte is sent by hand."""

    def __init__(self, port: int, protocols: list[str]) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(protocols)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self._out)
        self.port = port

    async def hello(self) -> None:
        """Begins the handshake; all but its last message has come and gone."""
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        while True:
            try:
                self.tls.do_handshake()
                return
            except ssl.SSLWantReadError:
                self.flush()
                if not (data := await asyncio.wait_for(self.reader.read(65_536), PATIENCE)):
                    raise EOFError from None
                self._in.write(data)

    def flush(self) -> None:
        self.writer.write(self._out.read())

    async def reads(self) -> bool:
        """Whether the server has something to say."""
        while True:
            try:
                return bool(self.tls.read(65_536))
            except ssl.SSLWantReadError:
                if not (data := await asyncio.wait_for(self.reader.read(65_536), PATIENCE)):
                    return False
                self._in.write(data)

    async def until_closed(self) -> None:
        """Reads to the end of TLS, and closes too."""
        is_open = True
        while is_open:
            data = await asyncio.wait_for(self.reader.read(65_536), PATIENCE)
            self._in.write(data)
            try:
                is_open = bool(data and self.tls.read(65_536))
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLZeroReturnError:
                is_open = False
        self.writer.close()


@asynccontextmanager
async def served(**limits: Any) -> AsyncIterator[tuple[Server, int]]:
    server = Server((), Limits(**limits))
    port = server.add_secure_port("127.0.0.1:0", of_server())
    await server.start()
    try:
        yield server, port
    finally:
        await server.stop(None)


@pytest.mark.parametrize("protocols", [[], ["http/1.1"]])
async def test_bytes_in_one_piece_with_a_handshake_without_h2_are_no_fault_here(protocols: list[str]) -> None:
    faults: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: faults.append(context))
    async with served() as (_, port):
        client = Client(port, protocols)
        await client.hello()
        client.tls.write(b"GET / HTTP/1.1\r\n\r\n")
        client.flush()
        await client.until_closed()
    assert faults == []


async def test_a_peer_that_speaks_another_protocol_and_stays_is_closed_soon() -> None:
    async with served() as (_, port):
        client = Client(port, [])
        await client.hello()
        client.flush()
        began = asyncio.get_running_loop().time()
        with suppress(ConnectionError):
            while await asyncio.wait_for(client.reader.read(65_536), PATIENCE):
                pass
        assert asyncio.get_running_loop().time() - began < 5
        client.writer.close()


async def test_a_handshake_ends_with_the_server() -> None:
    async with served() as (server, port):
        client = Client(port, ["h2"])
        await client.hello()
        await server.stop(5)
        client.tls.write(PREFACE + settings(()))
        client.flush()
        await closed(client.reader, client.writer)


async def closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Waits until the server has closed a connection."""
    with suppress(ConnectionError):
        while await asyncio.wait_for(reader.read(65_536), PATIENCE):
            pass
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def answered(port: int) -> bool:
    """Whether another caller is let in."""
    client = Client(port, ["h2"])
    try:
        await client.hello()
        client.flush()
        client.tls.write(PREFACE + settings(()))
        client.flush()
        return await client.reads()
    except (ConnectionError, EOFError):
        return False
    finally:
        client.writer.close()


async def test_handshakes_count_as_connections_and_long_ones_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(max_connections=3) as (_, port):
        begun = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        assert not await answered(port)
        monkeypatch.setattr(listening, "LONG_SECONDS", 0.0)
        assert await answered(port)
        await closed(*begun[0])
        begun[1][1].write(b"\x16\x03")
        await begun[1][1].drain()
        for _, writer in begun[1:]:
            assert not writer.is_closing()
            writer.close()


async def test_connections_that_are_made_give_their_place_to_no_handshake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "LONG_SECONDS", 0.0)
    async with served(max_connections=1) as (_, port):
        first = Client(port, ["h2"])
        await first.hello()
        first.flush()
        assert await first.reads()
        assert not await answered(port)
        first.writer.close()
        async with asyncio.timeout(PATIENCE):
            while not await answered(port):
                pass


async def test_a_handshake_without_an_end_is_cut() -> None:
    async with served(preface_seconds=0.3) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\x16\x03\x01")
        await closed(reader, writer)
        assert await answered(port)


async def test_bytes_that_are_no_tls_end_their_connection_alone(caplog: pytest.LogCaptureFixture) -> None:
    async with served() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(PREFACE + settings(()))
        await closed(reader, writer)
        assert await answered(port)
    assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []


class FullSocket(socket.socket):
    """A socket that has no room for connections at first."""

    failures = 3

    def accept(self) -> tuple[socket.socket, Any]:
        if self.failures:
            self.failures -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


async def test_a_server_without_files_accepts_again_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(listening, "_PAUSE_SECONDS", 0.0)
    found: asyncio.Queue[socket.socket] = asyncio.Queue()
    bound = FullSocket()
    bound.bind(("127.0.0.1", 0))
    listener = listening.TlsListener(bound, found.put_nowait)
    _, writer = await asyncio.open_connection(*bound.getsockname())
    (await asyncio.wait_for(found.get(), PATIENCE)).close()
    assert caplog.text.count("no connection can be accepted now: Too many open files") == 3
    writer.close()
    listener.close()
    assert bound.fileno() == -1
