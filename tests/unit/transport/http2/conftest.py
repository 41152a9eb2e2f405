"""A small service on both kinds of server: servicers must not be able to tell them apart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from headwater_server.transport.http2.limits import Limits
from headwater_server.transport.http2.server import Server

SERVICE = "test.Service"


@dataclass
class Seen:
    """The facts that handlers have seen. No context is kept: gRPC's own may not outlive their server.

    Attributes:
        calls: the metadata, the peer and the time remaining of each call of Echo.
        ended: how handlers ended that waited: `cancelled`.
        done: whether the context of a done callback was the one of its handler.
        steps: how many requests Step may read.
    """

    calls: list[tuple[Any, str, float | None]] = field(default_factory=list)
    ended: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    done: asyncio.Queue[bool] = field(default_factory=asyncio.Queue)
    steps: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))


def handlers(seen: Seen) -> dict[str, Any]:
    async def echo(request: bytes, context: Any) -> bytes:
        seen.calls.append((context.invocation_metadata(), context.peer(), context.time_remaining()))
        return request

    async def count(request: bytes, context: Any) -> AsyncIterator[bytes]:
        for number in range(int(request)):
            yield b"%d" % number

    async def write(request: bytes, context: Any) -> None:
        await context.send_initial_metadata((("first", "yes"), ("first-bin", b"\x00\xff")))
        context.set_trailing_metadata((("last", "yes"), ("last-bin", b"\x00\xff")))
        for number in range(int(request)):
            await context.write(b"%d" % number)

    async def join(requests: AsyncIterator[bytes], context: Any) -> bytes:
        return b",".join([request async for request in requests])

    async def double(requests: AsyncIterator[bytes], context: Any) -> None:
        while (request := await context.read()) is not grpc.aio.EOF:
            await context.write(request * 2)

    async def step(requests: AsyncIterator[bytes], context: Any) -> None:
        try:
            while await seen.steps.acquire() and (request := await context.read()) is not grpc.aio.EOF:
                await context.write(b"%d" % len(request))
        except asyncio.CancelledError:
            seen.ended.put_nowait("cancelled")
            raise

    async def abort(request: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.OUT_OF_RANGE, request.decode(), (("last", "yes"), ("last-bin", b"\xff")))

    async def code(request: bytes, context: Any) -> bytes:
        context.set_code(grpc.StatusCode.NOT_FOUND)
        context.set_details(request.decode())
        return b""

    async def fail(request: bytes, context: Any) -> bytes:
        raise ValueError("a fault")

    async def bad_trailers(request: bytes, context: Any) -> bytes:
        context.set_trailing_metadata((("Upper Case", "x"),))
        if request:
            await context.abort(grpc.StatusCode.NOT_FOUND, "x")
        return b""

    async def wait(request: bytes, context: Any) -> None:
        context.add_done_callback(lambda done: seen.done.put_nowait(done is context))
        try:
            if request:
                await context.write(request)
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.ended.put_nowait("cancelled")
            raise

    async def flood(request: bytes, context: Any) -> AsyncIterator[bytes]:
        context.add_done_callback(lambda done: seen.done.put_nowait(done is context))
        while True:
            yield bytes(int(request))

    one, many = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
    return {
        "Echo": one(echo),
        "Count": many(count),
        "Write": many(write),
        "Join": grpc.stream_unary_rpc_method_handler(join),
        "Double": grpc.stream_stream_rpc_method_handler(double),
        "Step": grpc.stream_stream_rpc_method_handler(step),
        "Abort": one(abort),
        "Code": one(code),
        "Fail": one(fail),
        "BadTrailers": one(bad_trailers),
        "Wait": many(wait),
        "Flood": many(flood),
        "Number": one(echo, request_deserializer=int, response_serializer=lambda number: b"%d" % (number + 1)),
    }


@dataclass
class Running:
    """A server that runs.

    Attributes:
        server: itself.
        address: for callers.
        channel: to it.
        seen: by its handlers.
    """

    server: grpc.aio.Server
    address: str
    channel: grpc.aio.Channel
    seen: Seen

    def unary(self, method: str) -> Any:
        return self.channel.unary_unary(f"/{SERVICE}/{method}")

    def stream(self, method: str) -> Any:
        return self.channel.unary_stream(f"/{SERVICE}/{method}")


def make(front: str, interceptors: Sequence[grpc.aio.ServerInterceptor] = (), limits: Limits | None = None) -> Any:
    return grpc.aio.server(interceptors=interceptors) if front == "grpcio" else Server(interceptors, limits or Limits())


async def start(server: Any, address: str = "127.0.0.1:0") -> Running:
    seen = Seen()
    server.add_registered_method_handlers(SERVICE, handlers(seen))
    port = server.add_insecure_port(address)
    await server.start()
    target = address.replace(":0", f":{port}") if address.endswith(":0") else address
    options = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0))
    return Running(server, target, grpc.aio.insecure_channel(target, options=options), seen)


@pytest.fixture(params=["grpcio", "lean"])
def front(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def running(front: str) -> AsyncIterator[Running]:
    running = await start(make(front))
    yield running
    await running.channel.close()
    await running.server.stop(None)
