"""A caller who leaves ends the provider's work: its connection is closed at once, whatever the stream was doing."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections.abc import Awaitable, Callable

import grpc
import pytest

from headwater import Agent, StreamInterruptedError
from headwater.v1 import agent_service_pb2
from headwater.v1.agent_service_pb2_grpc import AgentServiceStub
from tests.support.servers.server import ServerProcess, provider_variables
from tests.support.stubs.stub import agent_stub
from tests.support.upstream.replay import HOLD_HEAD, ReplayServer
from tests.support.upstream.upstream import Upstream

ROUNDS = 20
MODEL = "gpt-4o@openai-plain"
OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1), ("grpc.http2.bdp_probe", 0))

Leave = Callable[[Agent, ReplayServer, int], Awaitable[float]]


async def cancelled_before_the_first_chunk(agent: Agent, replay: ReplayServer, number: int) -> float:
    task = asyncio.create_task(anext(agent.stream("Hi")))
    await replay.wait_record(number)
    left_at = time.monotonic()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return left_at


async def broke_out_of_the_loop(agent: Agent, replay: ReplayServer, number: int) -> float:
    async for _ in agent.stream("Hi"):
        left_at = time.monotonic()
        break
    return left_at


async def raised_in_the_loop(agent: Agent, replay: ReplayServer, number: int) -> float:
    with contextlib.suppress(KeyError):
        async for _ in agent.stream("Hi"):
            left_at = time.monotonic()
            raise KeyError
    return left_at


async def dropped_the_generator(agent: Agent, replay: ReplayServer, number: int) -> float:
    stream = agent.stream("Hi")
    await anext(stream)
    left_at = time.monotonic()
    del stream
    return left_at


async def closed_the_generator(agent: Agent, replay: ReplayServer, number: int) -> float:
    stream = agent.stream("Hi")
    await anext(stream)
    left_at = time.monotonic()
    await stream.aclose()
    return left_at


WAYS: list[tuple[Leave, int]] = [
    (cancelled_before_the_first_chunk, HOLD_HEAD),
    (cancelled_before_the_first_chunk, 0),
    (broke_out_of_the_loop, 2),
    (raised_in_the_loop, 2),
    (dropped_the_generator, 2),
    (closed_the_generator, 2),
]
"""How a caller leaves, and after how many pieces the provider holds its answer."""


async def test_the_providers_connection_is_closed_at_once(processes):
    async with ReplayServer() as replay:
        with ServerProcess(variables=provider_variables(replay.url), processes=processes) as server:
            agent = Agent(model=MODEL, provider="openai", target=server.target, history=0)
            for leave, replay.hold in WAYS:
                delays = [await closed_after(leave, agent, replay) for _ in range(ROUNDS)]
                median, worst = statistics.median(delays), max(delays)
                figures = f"{median * 1000:.1f} ms (median), {worst * 1000:.1f} ms (worst)"
                print(f"{leave.__name__}, hold {replay.hold}: closed after {figures}")
                assert median < 0.1, leave.__name__
                assert worst < 1.0, leave.__name__


async def closed_after(leave: Leave, agent: Agent, replay: ReplayServer) -> float:
    """Leaves a stream; the seconds until the provider sees that."""
    number = len(replay.records)
    left_at = await leave(agent, replay, number)
    return await replay.wait_closed(replay.records[number]) - left_at


class EndlessProvider:
    """Sends a reply without an end, as fast as it is taken.

    Attributes:
        sent: the bytes that were taken.
        left: set when the connection is closed, at `left_at`.
    """

    def __init__(self) -> None:
        self.sent, self.left_at = 0, 0.0
        self.left = asyncio.Event()

    async def answer(self, writer: asyncio.StreamWriter) -> None:
        event = b'data: {"choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n' % (b"x" * 1000)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        try:
            while True:
                writer.write(event)
                await writer.drain()
                self.sent += len(event)
        except OSError:
            self.left_at = time.monotonic()
            self.left.set()

    async def wait_untaken(self) -> None:
        """Waits until nothing more is taken from it."""
        before = -1
        while before != self.sent:
            before = self.sent
            await asyncio.sleep(0.25)


async def test_a_reader_that_stands_still_stops_the_provider_and_can_still_leave(processes):
    provider = EndlessProvider()
    async with Upstream(provider.answer) as upstream:
        with ServerProcess(variables=provider_variables(upstream.url), processes=processes) as server:
            stream = Agent(model="gpt-4o", target=server.target).stream("Hi")
            await anext(stream)
            await provider.wait_untaken()
            print(f"{provider.sent / 1024:.0f} KiB taken from the provider for a reader that took one chunk")
            assert provider.sent < 16 * 1024 * 1024
            leaving_at = time.monotonic()
            await stream.aclose()
            await asyncio.wait_for(provider.left.wait(), 5)
            assert provider.left_at - leaving_at < 1.0


@pytest.mark.parametrize("resumable", [False, True])
@pytest.mark.parametrize("front", ["grpcio", "lean"])
async def test_cancel_stream_frees_a_stream_whose_reader_stands_still(front: str, resumable: bool) -> None:
    provider = EndlessProvider()
    request = agent_service_pb2.StreamRequest(prompt="Hi", agent={"model": "openai/gpt-4o"}, resumable=resumable)
    async with Upstream(provider.answer) as upstream:
        variables = {**provider_variables(upstream.url), "HEADWATER_FRONT": front}
        with ServerProcess(variables=variables) as server:
            async with (
                grpc.aio.insecure_channel(server.target, options=OWN_CONNECTION) as channel,
                agent_stub(server.target) as operator,
            ):
                call = AgentServiceStub(channel).Stream(request)
                stream_id = (await call.read()).stream_id
                await provider.wait_untaken()
                async with asyncio.timeout(5):
                    await operator.CancelStream(agent_service_pb2.CancelStreamRequest(stream_id=stream_id))
                    await provider.left.wait()
                    while (await operator.ListStreams(agent_service_pb2.ListStreamsRequest())).streams:
                        await asyncio.sleep(0.02)
                with contextlib.suppress(grpc.aio.AioRpcError):
                    while await call.read() is not grpc.aio.EOF:
                        pass
                assert (await call.code()).name == "CANCELLED"


async def test_cancel_stream_ends_the_stream_for_its_reader_too(processes):
    async with ReplayServer(hold=2) as replay:
        with ServerProcess(variables=provider_variables(replay.url), processes=processes) as server:
            stream = Agent(model=MODEL, provider="openai", target=server.target).stream("Hi")
            first = await anext(stream)
            async with agent_stub(server.target) as stub:
                [listed] = (await stub.ListStreams(agent_service_pb2.ListStreamsRequest())).streams
                assert listed.stream_id == stream.stream_id == first.metadata["stream_id"]
                await stub.CancelStream(agent_service_pb2.CancelStreamRequest(stream_id=listed.stream_id))
            with pytest.raises(StreamInterruptedError) as caught:
                async for chunk in stream:
                    first.content += chunk.content
            assert caught.value.reason == "STREAM_CANCELLED"
            assert caught.value.partial_response == first.content
            await replay.wait_closed(replay.records[0])


async def test_a_stream_that_has_said_nothing_can_be_cancelled_by_its_header(processes):
    async with ReplayServer(hold=HOLD_HEAD) as replay:
        with ServerProcess(variables=provider_variables(replay.url), processes=processes) as server:
            async with agent_stub(server.target) as stub:
                call = stub.Stream(agent_service_pb2.StreamRequest(prompt="Hi", agent={"model": f"openai/{MODEL}"}))
                headers = dict(await call.initial_metadata())
                assert headers["headwater-version"]
                stream_id = headers["headwater-stream-id"]
                await stub.CancelStream(agent_service_pb2.CancelStreamRequest(stream_id=stream_id))
                assert (await call.code()).name == "CANCELLED"
