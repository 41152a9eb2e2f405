"""The provider of the benchmarks: speaks OpenAI Chat Completions, one SSE event a write, and costs little.

    python -m benchmarks.load.upstream [FOLDER]

With a folder of server.pem and server.key it speaks TLS.

A raw asyncio protocol: the parts of an event that never change are joined once a stream, and an event is one write. It
prints its port, serves until its standard input closes, and tells at /stats how many connections are open, how many
streams it began, and how many readers left before the end.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import socket
import ssl
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.load.processes import raise_file_limit
from benchmarks.load.wire import STAMP_LENGTH, Order, now_us

BURST = 32  # events of one stream before the others have their turn
SEND_BUFFER = 64 * 1024
GOLDEN = 0.6180339887  # spreads the phases of paced streams evenly

_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
    b"x-request-id: req_bench\r\ntransfer-encoding: chunked\r\n\r\n"
)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_USAGE = re.compile(rb'"include_usage": ?true')
_MODEL = re.compile(rb'"model": ?"([^"]*)"')
_EVENT = (
    b'data: {"id":"chatcmpl-9kQd2vXbT1LmZr7sWcYp","object":"chat.completion.chunk","created":1790000000,"model":"%b",'
    b'"system_fingerprint":"fp_3b1c7a90de","choices":[%b]%b}\n\n'
)
_CHOICE = b'{"index":0,"delta":%b,"logprobs":null,"finish_reason":%b}'


@dataclass
class Counts:
    """The upstream's counts of requests and streams."""

    open: int = 0
    requests: int = 0
    streaming: int = 0
    left: int = 0
    events: int = 0


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Connection(asyncio.Protocol):
    """One connection; serves its requests one after the other."""

    _phases = itertools.count()

    def __init__(self, counts: Counts, transports: set[asyncio.Transport]) -> None:
        self._counts = counts
        self._transports = transports
        self._buffer = b""
        self._order: Order | None = None
        self._timer: asyncio.Handle | None = None
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Counts it."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        # Little may wait in the system's buffers: a burst ends soon after its last event was written.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self._transports.add(transport)
        self._counts.open += 1

    def connection_lost(self, error: Exception | None) -> None:
        """Stops the stream that ran on it."""
        self._transports.discard(self._transport)
        self._counts.open -= 1
        if self._timer is not None:
            self._timer.cancel()
        if self._order is not None:
            self._counts.left += 1
            self._counts.streaming -= 1

    def pause_writing(self) -> None:
        """The reader is behind."""
        self._paused = True

    def resume_writing(self) -> None:
        """The reader has caught up."""
        self._paused = False
        if self._order is not None and self._timer is None:
            self._step()

    def data_received(self, data: bytes) -> None:
        """Answers when a whole request is there."""
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = _LENGTH.search(head)
        size = int(length[1]) if length else 0
        if len(rest) < size:
            return
        self._buffer = rest[size:]
        self._answer(head, rest[:size])

    def _answer(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"GET"):
            self._plain(b"200 OK", asdict(self._counts) if b"/stats" in head else {"object": "list", "data": []})
            return
        try:
            order = Order.parse(body)
        except ValueError as error:
            self._plain(b"400 Bad Request", {"error": {"message": str(error)}})
            return
        self._counts.requests += 1
        self._counts.streaming += 1
        self._begin(order, body)

    def _plain(self, status: bytes, value: object) -> None:
        body = json.dumps(value).encode()
        head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % (status, len(body))
        self._transport.write(head + body)

    def _begin(self, order: Order, body: bytes) -> None:
        model = _MODEL.search(body)
        self._model = model[1] if model else b"unknown"
        self._usage = _USAGE.search(body) is not None
        self._order = order
        self._sent = 0
        self._began = self._loop.time()
        self._phase = (next(self._phases) * GOLDEN) % 1.0
        event = self._event(b'{"content":"' + b"0" * STAMP_LENGTH + b'"}')
        self._before, _, self._after = event.partition(b"0" * STAMP_LENGTH)
        self._transport.write(_HEAD + self._event(b'{"role":"assistant","content":"","refusal":null}'))
        self._write_delta()
        self._next()

    def _event(self, delta: bytes, finish: bytes = b"null") -> bytes:
        return _framed(_EVENT % (self._model, _CHOICE % (delta, finish), b""))

    def _write_delta(self) -> None:
        self._transport.write(b"%b%012d %b" % (self._before, now_us(), self._after))
        self._sent += 1
        self._counts.events += 1

    def _next(self) -> None:
        """Sets the time of the next delta."""
        order = self._order
        assert order is not None
        self._timer = None
        if order.silent:
            return
        if order.pace:
            # The first came at once; from the second on each stream keeps its beat.
            due = self._began + (self._sent - 1 + self._phase) / order.pace
            self._timer = self._loop.call_at(due, self._step)
        elif not self._paused:
            self._timer = self._loop.call_soon(self._step)

    def _step(self) -> None:
        order = self._order
        assert order is not None
        self._timer = None
        if self._over(order):
            self._finish()
            return
        if order.pace:
            self._write_delta()
        else:
            for _ in range(BURST):
                if self._paused or (order.count and self._sent >= order.count):
                    break
                self._write_delta()
        self._next()

    def _over(self, order: Order) -> bool:
        late = bool(order.seconds) and self._loop.time() - self._began >= order.seconds
        return late or (bool(order.count) and self._sent >= order.count)

    def _finish(self) -> None:
        self._order = None
        self._counts.streaming -= 1
        self._transport.write(self._event(b"{}", b'"stop"'))
        if self._usage:
            numbers = b'"prompt_tokens":9,"completion_tokens":%d,"total_tokens":%d' % (self._sent, self._sent + 9)
            self._transport.write(_framed(_EVENT % (self._model, b"", b',"usage":{%b}' % numbers)))
        self._transport.write(_framed(b"data: [DONE]\n\n") + b"0\r\n\r\n")


class Upstream:
    """The server on a free port of the loopback interface, from `async with` to its end.

    Args:
        tls: makes its connections encrypted.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.counts = Counts()
        self.port = 0
        self._transports: set[asyncio.Transport] = set()

    async def __aenter__(self) -> Upstream:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connection, "127.0.0.1", 0, backlog=4096, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for transport in list(self._transports):
            transport.abort()
        await self._server.wait_closed()

    def _connection(self) -> Connection:
        return Connection(self.counts, self._transports)


async def serve(certificates: str = "") -> None:
    """Serves until standard input closes, over TLS with the certificate in a folder."""
    tls = None
    if certificates:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(Path(certificates) / "server.pem", Path(certificates) / "server.key")
    async with Upstream(tls) as upstream:
        print(upstream.port, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)


if __name__ == "__main__":
    raise_file_limit()
    asyncio.run(serve(*sys.argv[1:2]))
