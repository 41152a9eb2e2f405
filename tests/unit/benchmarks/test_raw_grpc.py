from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import grpc
import pytest
from hpack import Encoder

from benchmarks.load import raw_grpc
from benchmarks.load.raw_grpc import RawGrpcReader, frame
from benchmarks.load.readers import BadStreamError
from benchmarks.load.wire import STAMP_LENGTH, Order
from headwater.v1 import agent_service_pb2_grpc
from headwater.v1.agent_pb2 import StreamChunk

STAMP = "000000000001 "
ORDER = b"bench pace="  # of a request
DATA, HEADERS, RESET, SETTINGS, PING, GO_AWAY, WINDOW = 0, 1, 3, 4, 6, 7, 8
LAST, WHOLE = 1, 4


def message(chunk: StreamChunk, compressed: bool = False) -> bytes:
    body = chunk.SerializeToString()
    return bytes([compressed]) + len(body).to_bytes(4, "big") + body


def final(deltas: int) -> StreamChunk:
    chunk = StreamChunk(is_final=True)
    chunk.usage.output_tokens = deltas
    return chunk


def headers(*pairs: tuple[str, str], last: bool = False) -> bytes:
    return frame(HEADERS, WHOLE | LAST * last, 1, Encoder().encode(pairs))


HEAD = headers((":status", "200"), ("content-type", "application/grpc"))
DELTA = frame(DATA, 0, 1, message(StreamChunk(content=STAMP)))
FINAL = frame(DATA, 0, 1, message(final(1)))
OK = headers(("grpc-status", "0"), last=True)
GOOD = HEAD + DELTA + FINAL + OK


class Scripted:
    """Answers the first request of each connection with these bytes, so many at once, and keeps what it is sent."""

    def __init__(self, answer: bytes, size: int = 0, *, leave: bool = False) -> None:
        self._pieces = [answer[at : at + (size or len(answer))] for at in range(0, len(answer), size or len(answer))]
        self._leave = leave
        self.sent = b""
        self.closed = asyncio.Event()
        self._more = asyncio.Event()

    async def sees(self, data: bytes) -> None:
        """Returns once it was sent this."""
        while data not in self.sent:
            self._more.clear()
            await self._more.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while ORDER not in self.sent:
            self._keep(await reader.read(65536))
        for piece in self._pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        while not self._leave and (data := await reader.read(65536)):
            self._keep(data)
        writer.close()
        self.closed.set()

    def _keep(self, data: bytes) -> None:
        self.sent += data
        self._more.set()


@asynccontextmanager
async def reading(scripted: Scripted):
    async with await asyncio.start_server(scripted.serve, "127.0.0.1", 0) as server:
        async with RawGrpcReader("127.0.0.1", server.sockets[0].getsockname()[1]) as reader:
            yield reader
        await scripted.closed.wait()


@pytest.mark.parametrize("size", [0, 1, 2, 9, 10, 33])
async def test_a_whole_stream_is_read_whatever_the_reads(size):
    texts: list[str | bytes] = []
    async with reading(Scripted(frame(SETTINGS, 0, 0) + GOOD, size)) as reader:
        await reader.read(Order(count=1), texts.append)
    assert texts == [STAMP]


async def test_a_message_may_be_cut_by_frames_and_several_may_share_one():
    texts: list[str | bytes] = []
    both = message(StreamChunk(content=STAMP)) + message(StreamChunk(content=STAMP * 2)) + message(final(3))
    cut = b"".join(frame(DATA, 0, 1, both[at : at + 11]) for at in range(0, len(both), 11))
    async with reading(Scripted(HEAD + cut + OK)) as reader:
        await reader.read(Order(count=3), texts.append)
    assert texts == [STAMP, STAMP * 2]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (HEAD + DELTA + OK, "no final chunk"),
        (HEAD + DELTA + DELTA + FINAL + OK, "2 deltas were read, the provider wrote 1"),
        (HEAD + FINAL + OK, "0 deltas were read, the provider wrote 1"),
        (HEAD + DELTA + FINAL + headers(("grpc-status", "13"), ("grpc-message", "bad"), last=True), "13, message bad"),
        (HEAD + DELTA + FINAL + headers(("other", "0"), last=True), "gRPC status none"),
        (headers((":status", "503"), ("grpc-status", "0"), last=True), "HTTP status 503"),
        (HEAD + frame(DATA, 0, 1, b"\0\0\0\0\1\xff") + OK, "cut: Error parsing message"),
        (HEAD + DELTA + FINAL + frame(DATA, 0, 1, b"\0\0\0\0\7") + OK, "ended within a message"),
        (HEAD + frame(DATA, 0, 1, message(StreamChunk(content=STAMP), compressed=True)) + OK, "is compressed"),
        (HEAD + frame(DATA, LAST, 1, message(final(0))), "data with padding, or as the end"),
        (frame(HEADERS, LAST, 1, HEAD[9:]), "headers in parts"),
        (HEAD + DELTA + frame(RESET, 0, 1, (7).to_bytes(4, "big")), "reset with code 7"),
        (HEAD + frame(GO_AWAY, 0, 0, bytes(4) + (11).to_bytes(4, "big")), "GOAWAY with code 11"),
        (HEAD + frame(42, 0, 1), "a frame of kind 42"),
        (HEAD + frame(DATA, 0, 1, message(StreamChunk(stream_id="s", resumable=True))) + OK, "the stream is resumable"),
    ],
    ids=[
        "no final chunk",
        "one too many",
        "text is missing",
        "a status of failure",
        "no status",
        "another HTTP status",
        "no message",
        "half a message",
        "compressed",
        "no trailers",
        "headers in parts",
        "reset",
        "going away",
        "an unknown frame",
        "another kind of stream",
    ],
)
@pytest.mark.filterwarnings("default")
async def test_a_stream_that_is_not_whole_is_an_error(answer, why):
    async with reading(Scripted(answer)) as reader:
        with pytest.raises(BadStreamError, match=why):
            await asyncio.wait_for(reader.read(Order(count=1), lambda _: None), 5)


async def test_a_cut_connection_fails_its_streams_and_later_ones():
    async with reading(Scripted(HEAD + DELTA, leave=True)) as reader:
        for _ in range(2):
            with pytest.raises(BadStreamError, match="the connection was cut"):
                await reader.read(Order(count=1), lambda _: None)


async def test_nobody_listening_is_an_error():
    with pytest.raises(BadStreamError, match="no connection"):
        async with RawGrpcReader("127.0.0.1", 9):
            pass


async def test_settings_and_pings_are_acknowledged():
    scripted = Scripted(frame(SETTINGS, 0, 0) + frame(PING, 0, 0, b"12345678") + GOOD)
    async with reading(scripted) as reader:
        await reader.read(Order(count=1), lambda _: None)
    assert frame(SETTINGS, 1, 0) in scripted.sent
    assert frame(PING, 1, 0, b"12345678") in scripted.sent


async def test_a_stream_that_is_left_is_reset():
    scripted = Scripted(HEAD)
    async with reading(scripted) as reader:
        task = asyncio.create_task(reader.read(Order(), lambda _: None))
        await scripted.sees(ORDER)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await scripted.sees(frame(RESET, 0, 1, (8).to_bytes(4, "big")))


class Servicer(agent_service_pb2_grpc.AgentServiceServicer):
    """A real gRPC server of streams, which keeps to the windows that it is given."""

    async def Stream(self, request, context):  # noqa: N802 - gRPC's name
        order = Order.parse(request.prompt.encode())
        for _ in range(order.count):
            yield StreamChunk(content=STAMP * int(order.pace))
        yield final(order.count * int(order.pace))


@asynccontextmanager
async def served():
    server = grpc.aio.server()
    agent_service_pb2_grpc.add_AgentServiceServicer_to_server(Servicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with RawGrpcReader("127.0.0.1", port) as reader:
            yield reader
    finally:
        await server.stop(None)


async def test_streams_of_a_grpc_server_are_read_beside_each_other():
    read = [0] * 30
    async with served() as reader:

        async def one(number: int) -> None:
            def take(text: str | bytes) -> None:
                read[number] += len(text) // STAMP_LENGTH

            await reader.read(Order(pace=2, count=number), take)

        await asyncio.gather(*map(one, range(30)))
    assert read == [2 * number for number in range(30)]


async def test_windows_are_widened_before_they_are_full(monkeypatch):
    monkeypatch.setattr(raw_grpc, "_STREAM_WINDOW", 2**16)
    monkeypatch.setattr(raw_grpc, "_CONNECTION_WINDOW", 2**17)
    read = 0

    def take(text: str | bytes) -> None:
        nonlocal read
        read += len(text)

    async with served() as reader:
        async with asyncio.timeout(20):
            await reader.read(Order(pace=1000, count=100), take)
    assert read == 100 * 1000 * STAMP_LENGTH
