"""How the load generator reads one stream: over HTTP/1.1, or with gRPC's Python stub; `raw_grpc` does without the stub.

All hand the text of each chunk, as it comes, to a function, and check the stream's end: it must have come, and the
provider's count of deltas must be the count that was read. Anything else is an error that names what was missing.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import grpc

from benchmarks.load.wire import KEY, MODEL, STAMP_LENGTH, Order
from headwater.v1.agent_pb2 import AgentConfig
from headwater.v1.agent_service_pb2 import StreamRequest
from headwater.v1.agent_service_pb2_grpc import AgentServiceStub

Take = Callable[[str | bytes], None]

_OPTIONS = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 16 * 1024), ("grpc.enable_http_proxy", 0))
_CONTENT = re.compile(rb'"content": ?"(\d{12} )"')
_DELTAS = re.compile(rb'"completion_tokens": ?(\d+)')


class BadStreamError(Exception):
    """A stream that failed, or ended other than it should."""


class Reader(Protocol):
    """Reads streams of one contestant."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def read(self, order: Order, take: Take) -> None:
        """Reads one stream to its end. Raises BadStreamError."""


def encrypted(ca_file: str, *protocols: str) -> ssl.SSLContext | None:
    """TLS that trusts the authority in this file, and offers these protocols; None for an empty name."""
    if not ca_file:
        return None
    context = ssl.create_default_context(cafile=ca_file)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


def stream_request(order: Order, resumable: bool) -> StreamRequest:
    """The request for a stream through Headwater."""
    agent = AgentConfig(model=MODEL, provider="openai")
    return StreamRequest(agent=agent, prompt=order.prompt, resumable=resumable)


class Counted:
    """Passes texts on and counts their deltas."""

    def __init__(self, take: Take) -> None:
        self.deltas = 0
        self._take = take

    def __call__(self, text: str | bytes) -> None:
        """Takes a text."""
        self.deltas += len(text) // STAMP_LENGTH
        self._take(text)

    def check(self, said: int | None) -> None:
        """Raises BadStreamError unless the provider said that it wrote as many."""
        if said != self.deltas:
            raise BadStreamError(f"{self.deltas} deltas were read, the provider wrote {said}")


class StubReader:
    """Streams over one connection, with the settings of Headwater's own clients.

    Args:
        target: where Headwater listens.
        ca_file: whose certificates are trusted; empty for no TLS.
        resumable: whether the streams are resumable ones.

    Attributes:
        stub: for other calls over the connection.
    """

    def __init__(self, target: str, ca_file: str = "", *, resumable: bool = False) -> None:
        self._resumable = resumable
        # With the common pool, channels would share one connection.
        options = [*_OPTIONS, ("grpc.use_local_subchannel_pool", 1)]
        if ca_file:
            credentials = grpc.ssl_channel_credentials(Path(ca_file).read_bytes())
            self._channel = grpc.aio.secure_channel(target, credentials, options)
        else:
            self._channel = grpc.aio.insecure_channel(target, options)
        self.stub = AgentServiceStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close()

    async def read(self, order: Order, take: Take) -> None:
        """Reads one stream to its end. Raises BadStreamError."""
        counted = Counted(take)
        final = None
        call = self.stub.Stream(stream_request(order, self._resumable))
        try:
            async for chunk in call:
                if chunk.stream_id and chunk.resumable != self._resumable:
                    raise BadStreamError("the stream is resumable" if chunk.resumable else "it is not resumable")
                if chunk.content:
                    counted(chunk.content)
                if chunk.is_final:
                    final = chunk
        except grpc.aio.AioRpcError as error:
            raise BadStreamError(f"{error.code().name}: {error.details()}") from error
        finally:
            call.cancel()
        if final is None:
            raise BadStreamError("no final chunk")
        counted.check(final.usage.output_tokens)


class HttpReader:
    """Streams over connections that are kept for the next one.

    Args:
        host, port: where the gateway listens.
        ca_file: whose certificates are trusted; empty for no TLS.
    """

    def __init__(self, host: str, port: int, ca_file: str = "") -> None:
        self._host, self._port = host, port
        self._tls = encrypted(ca_file)
        self._idle: list[_HttpConnection] = []
        self._all: set[_HttpConnection] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in self._all:
            connection.close()
        await asyncio.gather(*(connection.closed for connection in self._all))

    async def read(self, order: Order, take: Take) -> None:
        """Reads one stream to its end. Raises BadStreamError."""
        counted = Counted(take)
        while self._idle and self._idle[-1].closed.done():
            self._idle.pop()
        connection = self._idle.pop() if self._idle else await self._connect()
        try:
            said = await connection.stream(_request(self._host, self._port, order), counted)
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        counted.check(said)

    async def _connect(self) -> _HttpConnection:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(_HttpConnection, self._host, self._port, ssl=self._tls)
        except OSError as error:
            raise BadStreamError(f"no connection: {error}") from error
        self._all.add(connection)
        connection.closed.add_done_callback(lambda _: self._all.discard(connection))
        return connection


def _request(host: str, port: int, order: Order) -> bytes:
    body = json.dumps(
        {
            "model": MODEL,
            "messages": [{"role": "user", "content": order.prompt}],
            "stream": True,
            "stream_options": {"include_usage": True},
        },
        separators=(",", ":"),
    ).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}:{port}\r\nauthorization: Bearer {KEY}\r\n"
        f"content-type: application/json\r\naccept: text/event-stream\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class _HttpConnection(asyncio.Protocol):
    """One connection, one stream at a time; takes the text of each event the moment its bytes are there."""

    def __init__(self) -> None:
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._done: asyncio.Future[int | None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        self._fail("the connection was cut" + (f": {error}" if error else ""))
        if not self.closed.done():
            self.closed.set_result(None)

    def close(self) -> None:
        self._transport.abort()

    async def stream(self, request: bytes, take: Take) -> int | None:
        """Reads one answer; the provider's count of deltas."""
        self._done = asyncio.get_running_loop().create_future()
        self._take = take
        self._body = ChunkedBody()
        self._events = b""
        self._head: bytes | None = b""
        self._usage: int | None = None
        self._marked = False
        self._transport.write(request)
        return await self._done

    def _fail(self, why: str) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(BadStreamError(why))

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            self._head = (self._head + data).lstrip(b"\r\n")  # the end of the answer before may come late
            head, found, data = self._head.partition(b"\r\n\r\n")
            if not found:
                return
            self._head = None
            if not head.startswith(b"HTTP/1.1 200") or b"transfer-encoding: chunked" not in head.lower():
                self._fail(f"unexpected answer: {head[:200]!r} {data[:300]!r}")
                self._transport.abort()
                return
        self._events += self._body.feed(data)
        complete, separator, rest = self._events.rpartition(b"\n\n")
        if separator:
            self._events = rest
            self._read_events(complete)
        if self._body.complete and self._done is not None and not self._done.done():
            if self._marked:
                self._done.set_result(self._usage)
            else:
                self._fail("no [DONE]")

    def _read_events(self, events: bytes) -> None:
        # One text an event, as a reader of events gets them; several events in one read are several chunks.
        for text in _CONTENT.findall(events):
            self._take(text)
        if usage := _DELTAS.search(events):
            self._usage = int(usage[1])
        self._marked = self._marked or b"data: [DONE]" in events


class ChunkedBody:
    """Takes the frames of HTTP/1.1's chunked coding off, whatever the reads.

    Attributes:
        complete: the last frame has come.
    """

    def __init__(self) -> None:
        self.complete = False
        self._left = 0  # bytes of the present frame, its line end included
        self._line = b""

    def feed(self, data: bytes) -> bytes:
        """The bytes of the body in these. ValueError when they are not chunked."""
        if self._left > len(data) + 2:
            self._left -= len(data)
            return data
        pieces = []
        at = 0
        while at < len(data) and not self.complete:
            if self._left:
                end = min(at + self._left, len(data))
                text_end = min(end, at + self._left - 2)
                if text_end > at:
                    pieces.append(data[at:text_end])
                self._left -= end - at
                at = end
                continue
            end = data.find(b"\n", at)
            if end < 0:
                self._line += data[at:]
                break
            line = self._line + data[at:end]
            self._line = b""
            at = end + 1
            size = int(line.split(b";")[0].strip(), 16)
            if size:
                self._left = size + 2
            else:
                self.complete = True  # the blank line after it is the rest of this read
        return b"".join(pieces)
