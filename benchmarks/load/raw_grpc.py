"""Reads streams over gRPC with a bare protocol on the socket, as thin as the reader of HTTP/1.1 beside it.

gRPC's Python stub costs its process more a chunk than some gateways do, and wakes two threads before a chunk is seen.
Readers of HTTP/1.1 have no such thing, so a gateway that is read with the stub looks slower than it is.

Only the frames of HTTP/2 that a stream from a server needs are understood here:

    our preface, SETTINGS, WINDOW_UPDATE   once, with windows so wide that only TCP slows the gateway down
    our HEADERS, DATA                      a request: one block of headers that never changes, one message
    HEADERS, DATA ..., HEADERS             the answer: its head, messages cut anywhere, trailers with the status
    our WINDOW_UPDATE                      for a stream and for the connection, before a window is half used
    SETTINGS, PING                         acknowledged
    RST_STREAM, GOAWAY, a lost connection  failures of the streams that they end

The texts of a read are handed on before anything else is done. Blocks of headers depend on those before them (HPACK),
so they are kept, and decoded in their order at the end of the next stream. Anything else that comes is an error.
"""

from __future__ import annotations

import asyncio
import struct
from types import TracebackType
from typing import Self

from hpack import Decoder, Encoder

from benchmarks.load.readers import BadStreamError, Counted, Take, encrypted, stream_request
from benchmarks.load.wire import Order
from headwater.v1.agent_pb2 import StreamChunk

_HEAD = struct.Struct(">BHBBI")  # length in two parts, kind, flags, stream
_NUMBER = struct.Struct(">I")
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GO_AWAY, _WINDOW = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _ACKNOWLEDGED, _END_HEADERS, _PADDED = 1, 1, 4, 8
_CANCEL = 8

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_FIRST_WINDOW = 65_535  # of a connection, before it is widened
_CONNECTION_WINDOW = 2**31 - 1
_STREAM_WINDOW = 2**24
_WINDOW_SETTING = 4
_NO_PUSH = struct.pack(">HI", 2, 0)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame of HTTP/2."""
    size = len(payload)
    return _HEAD.pack(size >> 16, size & 0xFFFF, kind, flags, stream) + payload


class _Call:
    """One stream, as far as it was read."""

    __slots__ = ("buffer", "done", "final", "headers", "resumable", "take", "taken")

    def __init__(self, take: Take, resumable: bool) -> None:
        self.take = take
        self.resumable = resumable
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.buffer = b""
        self.taken = 0  # bytes since its window was last widened
        self.headers: dict[bytes, bytes] = {}
        self.final: StreamChunk | None = None

    def fail(self, why: str) -> None:
        if not self.done.done():
            self.done.set_exception(BadStreamError(why))

    def feed(self, payload: bytes) -> None:
        """Takes the messages that are whole."""
        data = self.buffer + payload if self.buffer else payload
        at = 0
        while len(data) - at >= 5:
            end = at + 5 + int.from_bytes(data[at + 1 : at + 5], "big")
            if len(data) < end:
                break
            if data[at]:
                raise BadStreamError("a message is compressed, which was not asked for")
            self._message(StreamChunk.FromString(data[at + 5 : end]))
            at = end
        self.buffer = data[at:]

    def _message(self, chunk: StreamChunk) -> None:
        if chunk.content:
            self.take(chunk.content)
        if chunk.stream_id and chunk.resumable != self.resumable:
            self.fail("the stream is resumable" if chunk.resumable else "it is not resumable")
        if chunk.is_final:
            self.final = chunk

    def end(self) -> None:
        """Judges the stream by its headers, now that they are all there."""
        head, status, message = (
            self.headers.get(name, b"none").decode() for name in (b":status", b"grpc-status", b"grpc-message")
        )
        if (head, status) != ("200", "0"):
            self.fail(f"HTTP status {head}, gRPC status {status}, message {message}")
        elif self.buffer:
            self.fail("the stream ended within a message")
        elif not self.done.done():
            self.done.set_result(None)


class _Connection(asyncio.Protocol):
    """The frames of one connection, given to its streams."""

    def __init__(self, headers: list[tuple[str, str]]) -> None:
        # Never put into the server's table, so that each request has them whole, as each of HTTP/1.1 has.
        self._headers = Encoder().encode([(*header, True) for header in headers])
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._calls: dict[int, _Call] = {}
        self._next = 1
        self._rest = b""
        self._blocks: list[tuple[_Call | None, bytes]] = []
        self._decoder = Decoder()
        self._taken = 0
        self._room = _FIRST_WINDOW  # for our requests
        self._over = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        settings = _NO_PUSH + struct.pack(">HI", _WINDOW_SETTING, _STREAM_WINDOW)
        wide = frame(_WINDOW, 0, 0, _NUMBER.pack(_CONNECTION_WINDOW - _FIRST_WINDOW))
        transport.write(_PREFACE + frame(_SETTINGS, 0, 0, settings) + wide)

    def connection_lost(self, error: Exception | None) -> None:
        self._fail_all("the connection was cut" + (f": {error}" if error else ""))
        if not self.closed.done():
            self.closed.set_result(None)

    def _fail_all(self, why: str) -> None:
        self._over = self._over or why
        for call in self._calls.values():
            call.fail(self._over)

    async def stream(self, message: bytes, call: _Call) -> None:
        """Sends a request and waits for the end of its answer."""
        body = b"\0" + _NUMBER.pack(len(message)) + message
        self._room -= len(body)
        if self._over or self._room < 0:
            raise BadStreamError(self._over or "the server leaves no room for a request")
        number, self._next = self._next, self._next + 2
        self._calls[number] = call
        head = frame(_HEADERS, _END_HEADERS, number, self._headers)
        self.transport.write(head + frame(_DATA, _END_STREAM, number, body))
        try:
            await call.done
        except BaseException:
            if not self.transport.is_closing():
                self.transport.write(frame(_RESET, 0, number, _NUMBER.pack(_CANCEL)))
            raise
        finally:
            del self._calls[number]

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        at, size = 0, len(data)
        while size - at >= 9:
            high, low, kind, flags, number = _HEAD.unpack_from(data, at)
            end = at + 9 + (high << 16 | low)
            if end > size:
                break
            payload = data[at + 9 : end]
            at = end
            if kind == _DATA:
                self._data(number, flags, payload)
            elif kind == _HEADERS:
                self._block(number, flags, payload)
            else:
                self._other(kind, flags, number, payload)
        self._rest = data[at:]

    def _data(self, number: int, flags: int, payload: bytes) -> None:
        if flags & (_END_STREAM | _PADDED):
            raise BadStreamError("data with padding, or as the end of a stream")
        call = self._calls.get(number)
        self._taken += len(payload)
        if self._taken > _CONNECTION_WINDOW // 4:
            self.transport.write(frame(_WINDOW, 0, 0, _NUMBER.pack(self._taken)))
            self._taken = 0
        if call is None:
            return
        call.feed(payload)
        call.taken += len(payload)
        if call.taken > _STREAM_WINDOW // 4:
            self.transport.write(frame(_WINDOW, 0, number, _NUMBER.pack(call.taken)))
            call.taken = 0

    def _block(self, number: int, flags: int, payload: bytes) -> None:
        if flags & ~_END_STREAM != _END_HEADERS:
            raise BadStreamError("headers in parts, with padding or a priority")
        call = self._calls.get(number)
        self._blocks.append((call, payload))
        if not flags & _END_STREAM:
            return
        for owner, block in self._blocks:
            headers = self._decoder.decode(block, raw=True)
            if owner is not None:
                owner.headers.update((name, value) for name, value in headers)
        self._blocks.clear()
        if call is not None:
            call.end()

    def _other(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if kind in (_SETTINGS, _PING):
            if not flags & _ACKNOWLEDGED:
                self.transport.write(frame(kind, _ACKNOWLEDGED, 0, payload if kind == _PING else b""))
        elif kind == _WINDOW:
            self._room += 0 if number else _NUMBER.unpack(payload)[0]
        elif kind == _RESET:
            if number in self._calls:
                self._calls[number].fail(f"the stream was reset with code {_NUMBER.unpack(payload)[0]}")
        elif kind == _GO_AWAY:
            self._fail_all(f"the server said GOAWAY with code {_NUMBER.unpack_from(payload, 4)[0]}")
        else:
            raise BadStreamError(f"a frame of kind {kind}")


class RawGrpcReader:
    """Streams over one connection, which is there from `async with` to its end.

    Args:
        host, port: where Headwater listens.
        ca_file: whose certificates are trusted; empty for no TLS.
        resumable: whether the streams are resumable ones.
    """

    def __init__(self, host: str, port: int, ca_file: str = "", *, resumable: bool = False) -> None:
        self._address = host, port
        self._tls = encrypted(ca_file, "h2")
        self._resumable = resumable

    async def __aenter__(self) -> Self:
        host, port = self._address
        headers = [
            (":method", "POST"),
            (":scheme", "https" if self._tls else "http"),
            (":path", "/headwater.v1.AgentService/Stream"),
            (":authority", f"{host}:{port}"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
        ]
        loop = asyncio.get_running_loop()
        try:
            _, self._connection = await loop.create_connection(lambda: _Connection(headers), host, port, ssl=self._tls)
        except OSError as error:
            raise BadStreamError(f"no connection: {error}") from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.transport.abort()
        await self._connection.closed

    async def read(self, order: Order, take: Take) -> None:
        """Reads one stream to its end. Raises BadStreamError."""
        counted = Counted(take)
        call = _Call(counted, self._resumable)
        await self._connection.stream(stream_request(order, self._resumable).SerializeToString(), call)
        if call.final is None:
            raise BadStreamError("no final chunk")
        counted.check(call.final.usage.output_tokens)
