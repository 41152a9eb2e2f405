"""Another server at the address: the error says what answers there, and the cure."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from headwater import Agent, ServerUnavailableError, StreamInterruptedError, StreamTimeoutError, WorkflowAgent

HTTP_400 = b"HTTP/1.1 400 Bad Request\r\nServer: gate/1.2\r\nContent-Length: 0\r\n\r\n"


@contextlib.asynccontextmanager
async def listening(words: bytes | None, *, greets: bool = False) -> AsyncIterator[str]:
    """The address of a server that says the same to all, at once or when it has heard something; None: never."""
    tasks: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            if not greets:
                await reader.read(1)
            if words is None:
                await reader.read()
            else:
                writer.write(words)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks)
    assert len(tasks) <= 4  # two of gRPC, and those that ask


async def refusal(target: str) -> str:
    with pytest.raises(ServerUnavailableError) as caught:
        await Agent(target=target, history=0).arun("x")
    return str(caught.value)


@pytest.mark.parametrize(
    ("words", "greets", "named"),
    [
        (HTTP_400, False, "an HTTP/1 server (gate/1.2) answers at {target}"),
        (b"HTTP/1.0 404 Not Found\r\n\r\n", False, "an HTTP/1 server answers at {target}"),
        (b"<!DOCTYPE HTML>\n<html>505</html>", False, "an HTTP/1 server answers at {target}"),
        (b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.", False, "a TLS server"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", True, "an SSH server answers at {target}"),
        (b"220 mail.example.org ESMTP\r\n", True, "a mail or FTP server answers at {target}"),
        (b"-ERR unknown command\r\n", False, "a Redis server answers at {target}"),
        (b"J\x00\x00\x00\n8.4.0\x00", True, "a server of another protocol answers at {target}"),
        (b"", False, "something at {target} takes connections and says nothing"),
    ],
)
async def test_it_is_named_with_the_cure(words: bytes, greets: bool, named: str) -> None:
    async with listening(words, greets=greets) as target:
        error = await refusal(target)
    assert named.format(target=target) in error
    assert "give the address" in error
    assert "failed to connect" in error  # gRPC's own words


async def test_a_tls_server_is_said_to_be_one() -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # without a certificate it refuses each greeting, in TLS

    def serve(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the listener is closed
            while True:
                connection, _ = listener.accept()
                with connection, contextlib.suppress(OSError):
                    tls.wrap_socket(connection, server_side=True)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=serve, args=(listener,))
        thread.start()
        target = f"127.0.0.1:{listener.getsockname()[1]}"
        error = await refusal(target)
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert f"a TLS server answers at {target}, and this client connects without TLS" in error


async def test_a_web_server_of_the_standard_library_is_said_to_be_one() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), QuietHandler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            error = await refusal(f"127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()
            thread.join()
    assert "an HTTP/1 server" in error


class QuietHandler(BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


async def test_at_a_unix_socket_too(tmp_path: Path) -> None:
    path = tmp_path / "s"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(HTTP_400)
        writer.close()

    async with await asyncio.start_unix_server(serve, path):
        assert f"an HTTP/1 server (gate/1.2) answers at unix:{path}" in await refusal(f"unix:{path}")


async def test_calls_that_are_no_streams_say_it_too() -> None:
    async with listening(HTTP_400) as target:
        with pytest.raises(ServerUnavailableError, match="an HTTP/1 server"):
            await Agent(target=target).aget_provider_info()
    async with listening(HTTP_400) as target:
        with pytest.raises(ServerUnavailableError, match="an HTTP/1 server"):
            await WorkflowAgent(target=target).get_workflow_status("r")


async def test_within_a_short_timeout_the_error_says_that_no_server_has_accepted_the_call() -> None:
    async with listening(None) as target:
        with pytest.raises(StreamTimeoutError, match=f"no server at {target} has accepted the call"):
            await Agent(target=target, history=0, timeout=0.2).arun("x")


async def test_a_wait_that_is_cancelled_meanwhile_does_not_look_like_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = asyncio.Event()

    async def ask_for_ever(error: Any, target: str) -> str:
        asked.set()
        await asyncio.Event().wait()
        return ""

    monkeypatch.setattr("headwater._call.stream.explain", ask_for_ever)
    stream = Agent(target="127.0.0.1:1", history=0).stream("x")
    reading = asyncio.ensure_future(anext(stream))
    await asked.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    with pytest.raises(StreamInterruptedError):
        await anext(stream)
