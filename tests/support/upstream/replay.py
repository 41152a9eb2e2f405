"""An HTTP server that answers with canned responses, byte for byte, over real sockets.

Theory of operation. A response is a head, pieces and a way to end. The pieces of a fixture are its body cut at its
boundaries; each goes out in a separate write, without Nagle's delay, and is counted once the kernel has room for it,
so that a client that stops reading stops the count. A recorded response is sent as it was, framing included, and the
connection is closed. The client's leaving is seen by the protocol (FIN or RST) also while the server is busy, and
is noted in the record of the request with the time of the monotonic clock.

Which response: the field `model` of the JSON body, `ANYTHING@NAME` for a fixture (also `/`, `:` or `+` before NAME) and
`ANYTHING@recorded:FOLDER/NAME` for a recorded one; with `>OTHER` behind it, a request that brings results of tools gets
the fixture OTHER. A case of `field` is named like a fixture, and says itself which answer follows results of tools. An
answer of `gemini` is named by the model in the path. A request that names none for its endpoint gets the fixture marked
as default there, or for GET the only fixture there, or the server's own `default`. Else the answer is 404 with a sentence
that says why.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
import time
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote

from tests.support.upstream.fixtures import RECORDED, Fixture, load_field, load_fixtures, load_gemini

HOLD_HEAD = -1
"""A value of `hold`: send nothing at all, not even the response's head."""

_RESULTS = ('"role": "tool"', '"type": "tool_result"', '"type": "function_call_output"')

_MAX_BODY = 64 * 1024 * 1024


@dataclass(frozen=True)
class Response:
    """The bytes to send: `end` is `clean`, `cut` (FIN before the end) or `reset` (RST); a clean end sends `tail`."""

    name: str
    head: bytes
    pieces: tuple[bytes, ...]
    tail: bytes = b""
    end: str = "clean"
    keep_alive: bool = False


def response_of(fixture: Fixture) -> Response:
    """The bytes that the fixture stands for."""
    framing = fixture.about["framing"]
    extra = {
        "chunked": "transfer-encoding: chunked",
        "length": f"content-length: {len(fixture.body)}",
        "close": "connection: close",
    }[framing]
    if raw := fixture.about.get("raw_head"):
        return Response(fixture.name, raw.encode("latin-1"), (fixture.body,))
    lines = [*(f"{key}: {value}" for key, value in fixture.about["headers"].items()), extra]
    chunked = framing == "chunked"
    pieces = [b"%x\r\n%b\r\n" % (len(p), p) for p in fixture.pieces()] if chunked else fixture.pieces()
    return Response(
        name=fixture.name,
        head=_head(fixture.status, lines, fixture.about.get("http_version") or "HTTP/1.1"),
        pieces=tuple(pieces),
        tail=b"0\r\n\r\n" if chunked else b"",
        end=fixture.about["end"],
        keep_alive=framing != "close",
    )


def _serves(fixture: Fixture, method: str, path: str) -> bool:
    """Whether the fixture answers this endpoint, below any base path."""
    own_method, own_path = fixture.endpoint.split(" ", 1)
    return method == own_method and path.partition("?")[0].endswith(own_path)


def recorded(name: str) -> Response:
    """The recorded response FOLDER/NAME. Raises KeyError when there is none."""
    path = RECORDED / "captures" / f"{name}.response.raw"
    if not path.is_file():
        path = path.with_name(path.name.replace(".response.raw", ".raw"))
    if ".." in name or not path.is_file():
        raise KeyError(name)
    head, blank, body = path.read_bytes().partition(b"\r\n\r\n")
    return Response(f"recorded:{name}", head + blank, (body,))


@dataclass(eq=False)
class Record:
    """The record of one request; times are of `time.monotonic`.

    Attributes:
        case: name of the response that was chosen; empty for none.
        body: the request's body, parsed when it is JSON.
        connection: number of the connection it came on, from 1.
        pieces_sent: pieces of the response's body that the kernel has taken, and when (`sent_at`).
        finished: the whole response was sent, as it was meant to end.
        closed_at: when the client left before that; None when it did not.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    connection: int
    case: str = ""
    received_at: float = field(default_factory=time.monotonic)
    pieces_sent: int = 0
    sent_at: list[float] = field(default_factory=list)
    finished: bool = False
    closed_at: float | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event, repr=False)


class ReplayServer:
    """Serves canned responses on a free port of the loopback interface; an asynchronous context manager.

    Args:
        delay: seconds to wait before each piece.
        hold: after so many pieces send nothing more until the client leaves, or `go_on` is set; HOLD_HEAD: send nothing
            at all.
        default: name of the fixture for a POST to its endpoint whose model names none.

    Attributes:
        url: its base URL, without a slash at the end.
        records: the requests, in order of arrival.
        connections: all that were ever opened.
        go_on: set by a test, lets held responses continue.
    """

    def __init__(self, *, delay: float = 0.0, hold: int | None = None, default: str = "") -> None:
        self.default = default
        self.delay = delay
        self.hold = hold
        self.records: list[Record] = []
        self.url = ""
        self.connections: list[Connection] = []
        self.go_on = asyncio.Event()
        self._arrived = asyncio.Event()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        assert self._server is not None
        self._server.close()
        for connection in self.connections:
            connection.abort()
        results = await asyncio.gather(*(c.task for c in self.connections if c.task), return_exceptions=True)
        await self._server.wait_closed()
        for result in results:
            if isinstance(result, Exception) and kind is None:
                raise result

    @property
    def open_connections(self) -> int:
        """How many clients are connected now."""
        return sum(not connection.left.is_set() for connection in self.connections)

    def add(self, record: Record) -> None:
        """Notes a request that has arrived."""
        self.records.append(record)
        self._arrived.set()

    async def wait_record(self, index: int = 0, timeout: float = 10.0) -> Record:
        """The record of request number `index`, from 0, once it has arrived. Raises TimeoutError."""
        async with asyncio.timeout(timeout):
            while len(self.records) <= index:
                self._arrived.clear()
                await self._arrived.wait()
        return self.records[index]

    async def wait_closed(self, record: Record, timeout: float = 10.0) -> float:
        """When the client left. Raises TimeoutError, or AssertionError when it stayed to the end."""
        async with asyncio.timeout(timeout):
            await record.over.wait()
        assert record.closed_at is not None, "the response was sent to its end, the client did not leave early"
        return record.closed_at


class Connection(asyncio.StreamReaderProtocol):
    """One connection: answers its requests one after the other, and knows when the client has left."""

    def __init__(self, server: ReplayServer) -> None:
        super().__init__(asyncio.StreamReader(limit=_MAX_BODY), self._connected)
        self.server = server
        self.task: asyncio.Task[None] | None = None
        self.left = asyncio.Event()
        self.left_at = 0.0
        self._transport_in_use: asyncio.WriteTransport | None = None

    def abort(self) -> None:
        if self._transport_in_use is not None:
            self._transport_in_use.abort()
        self._mark_left()

    def eof_received(self) -> bool | None:
        self._mark_left()
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._mark_left()
        super().connection_lost(exc)

    def _mark_left(self) -> None:
        if not self.left.is_set():
            self.left_at = time.monotonic()
            self.left.set()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._transport_in_use = writer.transport
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        writer.transport.set_write_buffer_limits(0)  # so that drain waits for the kernel, not for a buffer of our own
        self.server.connections.append(self)
        self.task = asyncio.create_task(self._serve(reader, writer, len(self.server.connections)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        try:
            stays = True
            while stays:
                record = await _read_request(reader, number)
                self.server.add(record)
                stays = await self._answer(writer, record)
        except (asyncio.IncompleteReadError, OSError):
            pass  # the client has gone; its record says when
        finally:
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, record: Record) -> bool:
        """Sends a response; whether the connection stays open."""
        response = choose(record, self.server.default)
        record.case = response.name
        try:
            stays = await self._send(writer, response, record)
        except OSError:
            stays = False
        if not record.finished:
            await self.left.wait()
            record.closed_at = self.left_at
        record.over.set()
        return stays

    async def _send(self, writer: asyncio.StreamWriter, response: Response, record: Record) -> bool:
        hold = self.server.hold
        if hold == HOLD_HEAD:
            return False
        writer.write(response.head)
        for number, piece in enumerate(response.pieces):
            if (number == hold and not await self._may_go_on()) or await self._leaves_within(self.server.delay):
                return False
            writer.write(piece)
            await writer.drain()
            record.pieces_sent += 1
            record.sent_at.append(time.monotonic())
        if (hold is not None and hold >= len(response.pieces)) or self.left.is_set():
            return False
        record.finished = True
        if response.end == "reset":
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        elif response.end == "clean":
            writer.write(response.tail)
            await writer.drain()
        return response.keep_alive and response.end == "clean" and record.headers.get("connection") != "close"

    async def _may_go_on(self) -> bool:
        waiting = [asyncio.ensure_future(event.wait()) for event in (self.left, self.server.go_on)]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for each in waiting:
            each.cancel()
        return self.server.go_on.is_set()

    async def _leaves_within(self, seconds: float) -> bool:
        if not seconds:
            await asyncio.sleep(0)  # lets the loop see a client that leaves
        else:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.left.wait(), seconds)
        return self.left.is_set()


def choose(record: Record, default: str = "") -> Response:
    """The response to a request; a 404 that says why when there is none."""
    model = record.body.get("model") if isinstance(record.body, dict) else None
    model = model if isinstance(model, str) else ""
    model, _, then = model.partition(">")
    has_results = any(mark in json.dumps(record.body) for mark in _RESULTS)
    if then and has_results:
        model = f"@{then}"
    if match := re.search(r"@recorded:(.+)$", model):
        try:
            return recorded(match[1])
        except KeyError:
            return _not_found(f"no recorded response {match[1]!r}")
    if match := re.search(r"@([^@]+):streamGenerateContent", unquote(record.path)):
        return response_of(load_gemini()[match[1]])
    serving = [f for f in load_fixtures().values() if _serves(f, record.method, record.path)]
    named = [f for f in serving if re.search(rf"[@/:+]{re.escape(f.name)}$", model)]
    if named:
        return response_of(max(named, key=lambda f: len(f.name)))
    if case := load_field().get(model.rpartition("@")[2]):
        return response_of((case.then if has_results else None) or case)
    defaults = [f for f in serving if f.about.get("default") or f.name == default] or (
        serving if record.method == "GET" else []
    )
    if len(defaults) == 1:
        return response_of(defaults[0])
    return _not_found(f"no fixture named by model {model!r} answers {record.method} {record.path}")


async def _read_request(reader: asyncio.StreamReader, connection: int) -> Record:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    request_line, *lines = head.rstrip("\r\n").split("\r\n")
    method, path, _ = request_line.split(" ", 2)
    headers = {key.strip().lower(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    if "transfer-encoding" in headers:
        raise ValueError("requests with a chunked body are not read here; send content-length")
    raw = await reader.readexactly(int(headers.get("content-length", "0")))
    try:
        body: Any = json.loads(raw)
    except ValueError:
        body = raw.decode("utf-8", "replace")
    return Record(method, path, headers, body, connection)


def _not_found(why: str) -> Response:
    body = json.dumps({"error": {"message": f"replay: {why}", "type": "replay_error"}}).encode()
    head = _head(404, ["content-type: application/json", f"content-length: {len(body)}"])
    return Response("", head, (body,), keep_alive=True)


def _head(status: int, lines: list[str], version: str = "HTTP/1.1") -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"  # providers use further numbers, such as 529
    return "\r\n".join([f"{version} {status} {phrase}", *lines, "", ""]).encode("latin-1")
