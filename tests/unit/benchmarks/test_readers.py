from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from benchmarks.load.readers import BadStreamError, ChunkedBody, HttpReader
from benchmarks.load.relay import CountingRelay
from benchmarks.load.upstream import Upstream
from benchmarks.load.wire import Order
from tests.support.upstream.upstream import Upstream as Scripted

BODY = b"data: one\n\n" + b"x" * 300 + b"\r\n0\r\n\r\n"


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000])
def test_chunked_coding_comes_off_whatever_the_reads(size):
    data = chunked(BODY, b"z", BODY * 3)
    body = ChunkedBody()
    read = b"".join(body.feed(data[at : at + size]) for at in range(0, len(data), size))
    assert (read, body.complete) == (BODY + b"z" + BODY * 3, True)


def test_a_body_without_its_last_frame_is_not_complete():
    body = ChunkedBody()
    assert body.feed(chunked(BODY)[:-5]) == BODY
    assert not body.complete


def event(text: str) -> bytes:
    return b'data: {"choices":[{"delta":{"content":"%b"}}]}\n\n' % text.encode()


STAMP = "000000000001 "
USAGE = b'data: {"choices":[],"usage":{"completion_tokens":2}}\n\n'
DONE = b"data: [DONE]\n\n"


@asynccontextmanager
async def answering(body: bytes, status: str = "200 OK"):
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {status}\r\ntransfer-encoding: chunked\r\n\r\n".encode() + body)
        await writer.drain()

    async with Scripted(answer) as upstream, HttpReader("127.0.0.1", int(upstream.url.rpartition(":")[2])) as reader:
        yield reader


async def test_a_whole_stream_is_read():
    texts: list[str | bytes] = []
    async with answering(chunked(event(STAMP), event(STAMP) + USAGE, DONE)) as reader:
        await reader.read(Order(count=2), texts.append)
    assert texts == [STAMP.encode()] * 2


@pytest.mark.parametrize(
    ("body", "status", "why"),
    [
        (chunked(event(STAMP), USAGE, DONE), "200 OK", "1 deltas were read, the provider wrote 2"),
        (chunked(event(STAMP), event(STAMP), DONE), "200 OK", "the provider wrote None"),
        (chunked(event(STAMP), event(STAMP), USAGE), "200 OK", "no .DONE."),
        (chunked(event(STAMP))[:-5], "200 OK", "the connection was cut"),
        (chunked(b"busy"), "503 Service Unavailable", "unexpected answer: .*503"),
    ],
    ids=["a delta is missing", "no usage", "no end mark", "cut", "refused"],
)
async def test_a_stream_that_is_not_whole_is_an_error(body, status, why):
    async with answering(body, status) as reader:
        with pytest.raises(BadStreamError, match=why):
            await reader.read(Order(count=2), lambda _: None)


async def test_the_relay_counts_what_passes():
    async with Upstream() as upstream, CountingRelay("127.0.0.1", upstream.port) as relay:
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        writer.write(b"GET /stats HTTP/1.1\r\n\r\n")
        answer = await reader.readuntil(b"}")
        writer.close()
        await writer.wait_closed()
    assert (relay.sent, relay.received) == (23, len(answer))
