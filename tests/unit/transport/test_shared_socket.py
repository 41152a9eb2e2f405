"""Connections that a process takes from a shared Unix socket reach the process's own socket, both ways."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from headwater_server.transport.shared_socket import SharedSocket

MEGABYTE = 1024 * 1024


@dataclass
class Both:
    """A shared socket in use: where callers connect, and the connections that came to the own socket."""

    shared: SharedSocket
    path: Path
    came: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]]

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(self.path)


@asynccontextmanager
async def sharing(folder: Path) -> AsyncIterator[Both]:
    came: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    own = await asyncio.start_unix_server(lambda reader, writer: came.put_nowait((reader, writer)), folder / "own")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "shared"))
        listener.listen()
        shared = SharedSocket(str(folder / "own"))
        await shared.start(os.dup(listener.fileno()))
        async with own:
            yield Both(shared, folder / "shared", came)
        await shared.stop()


async def close(*writers: asyncio.StreamWriter) -> None:
    for writer in writers:
        writer.close()
        await writer.wait_closed()


async def test_bytes_go_both_ways_and_each_side_may_end_first(tmp_path):
    async with sharing(tmp_path) as both:
        reader, writer = await both.connect()
        theirs, to_them = await both.came.get()
        writer.write(b"question")
        writer.write_eof()
        assert await theirs.read() == b"question"
        to_them.write(b"answer")
        to_them.write_eof()
        assert await reader.read() == b"answer"
        await close(writer, to_them)


async def test_a_reader_that_stands_still_stops_the_writer(tmp_path):
    async with sharing(tmp_path) as both:
        reader, writer = await both.connect()
        _, to_them = await both.came.get()
        written = 0

        async def write_without_end() -> None:
            nonlocal written
            while True:
                to_them.write(b"x" * 65_536)
                await to_them.drain()
                written += 65_536

        writing = asyncio.create_task(write_without_end())
        before = -1
        while before != written:  # until nothing more is taken
            before = written
            await asyncio.sleep(0.1)
        assert written < 4 * MEGABYTE
        await reader.readexactly(written + MEGABYTE)
        writing.cancel()
        await asyncio.wait([writing])
        to_them.transport.abort()
        await close(writer)


async def test_a_caller_is_disconnected_when_its_connection_cannot_be_passed_on(tmp_path):
    async with sharing(tmp_path) as both:
        (tmp_path / "own").unlink()
        reader, writer = await both.connect()
        assert await reader.read() == b""
        await close(writer)


async def test_connections_outlast_the_leaving_and_end_with_the_stop(tmp_path):
    async with sharing(tmp_path) as both:
        reader, writer = await both.connect()
        theirs, to_them = await both.came.get()
        both.shared.leave()
        writer.write(b"still")
        assert await theirs.readexactly(5) == b"still"
        await both.shared.stop()
        assert (await reader.read(), await theirs.read()) == (b"", b"")
        await close(writer, to_them)
