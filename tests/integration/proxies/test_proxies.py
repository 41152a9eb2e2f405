"""Envoy and nginx, the real programs, with the configurations of examples/proxies: a stream does not notice them."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health import HealthServicer

from headwater import Agent, AgentStream, Connection, StreamInterruptedError, WorkflowAgent
from headwater.v1 import AgentServiceServicer, add_AgentServiceServicer_to_server, agent_service_pb2
from headwater.v1.agent_service_pb2_grpc import AgentServiceStub
from tests.support.proxies import proxy
from tests.support.servers.certificates import Authority
from tests.support.servers.server import ReplayThread, ServerProcess

FIVE = "one two three four five"


def stream(connection: Connection, prompt: str = "x", **options: Any) -> AgentStream:
    """A stream whose reply is scripted, and that no other connection continues when the proxy cuts it."""
    agent = Agent(model="scripted/echo", connection=connection, history=0)
    return agent.stream(prompt, provider_options={"scripted": options}, resumable=False)


async def first(chunks: AgentStream, count: int) -> str:
    """The text of the first deltas of a stream, which is then left."""
    text = ""
    async for chunk in chunks:
        text += chunk.content
        if chunk.metadata["sequence"] >= count:
            break
    return text


async def rest(chunks: AgentStream) -> str:
    """The text up to the end of a stream."""
    return "".join([chunk.content async for chunk in chunks])


@pytest.mark.parametrize("count", [1, 2, 3, 4])
async def test_a_chunk_arrives_although_no_other_follows(connection, count):
    async with connection, asyncio.timeout(20):
        text = await first(stream(connection, text=FIVE, delay_ms=10, hang_after=count), count)
    assert text.split() == FIVE.split()[:count]


async def test_silence_and_speech_take_turns(connection):
    async with connection:
        began = time.monotonic()
        text = await rest(stream(connection, text="one two", first_delay_ms=1100, delay_ms=1100))
    assert text == "one two"
    assert time.monotonic() - began >= 2.2


async def test_a_caller_who_leaves_ends_the_work_of_the_provider(connection, replay: ReplayThread, monkeypatch):
    monkeypatch.setattr(replay.replay, "hold", 2)
    number = len(replay.replay.records)
    async with connection:
        agent = Agent(model="gpt-4o@openai-plain", provider="openai", connection=connection, history=0)
        async for _ in agent.stream("x"):
            left_at = time.monotonic()
            break
        seen = replay.replay.wait_closed(replay.replay.records[number])
        closed_at = await asyncio.to_thread(replay.run, seen)
    assert closed_at - left_at < 2


async def test_300_streams_run_at_once_on_one_connection(connection):
    async with connection, asyncio.timeout(30):
        streams = [stream(connection, text=FIVE, delay_ms=0, hang_after=1) for _ in range(300)]
        chunks = await asyncio.gather(*(anext(each) for each in streams))
        for each in streams:
            await each.aclose()
    assert {chunk.content for chunk in chunks} == {"one"}


async def test_a_worker_behind_it_gets_its_steps(connection):
    async with connection:
        editor = WorkflowAgent(model="scripted/echo", connection=connection)
        editor.register_handler("shout", lambda agent, step, context: context["word"].upper())
        workflow = editor.create_workflow("behind-a-proxy")
        workflow.add_step("shout", handler="shout")
        result = await editor.execute_workflow(workflow, context={"word": "hello"})
    assert result.context["shout_result"] == "HELLO", result.format_summary()


async def test_a_large_request_passes(connection):
    async with connection:
        assert await rest(stream(connection, "x" * 5_000_000, text="read")) == "read"


class Refuses(AgentServiceServicer):
    """Refuses each call with the longest message and details that Headwater sends."""

    def Run(self, request: object, context: grpc.ServicerContext) -> None:  # noqa: N802
        context.set_trailing_metadata((("grpc-status-details-bin", b"d" * 4096),))
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "m" * 1024)


async def test_the_longest_error_passes_whole(name, authority, tmp_path):
    server = grpc.server(ThreadPoolExecutor(2))
    add_AgentServiceServicer_to_server(Refuses(), server)
    health_pb2_grpc.add_HealthServicer_to_server(HealthServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with proxy(name, f"127.0.0.1:{port}", authority, tmp_path / name) as front:
        async with stub(front, authority) as agents:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await agents.Run(agent_service_pb2.RunRequest(prompt="x"))
    server.stop(None).wait()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == "m" * 1024
    assert dict(caught.value.trailing_metadata() or ())["grpc-status-details-bin"] == b"d" * 4096


async def test_during_a_drain_streams_end_as_promised_and_new_calls_are_refused(name, authority, tmp_path):
    with (
        ServerProcess("--scripted", variables={"HEADWATER_DRAIN_SECONDS": "1"}) as server,
        proxy(name, server.target, authority, tmp_path / name) as front,
    ):
        async with Connection(front, ca_file=authority.file) as connection:
            short = stream(connection, text="one two three", delay_ms=200)
            long = stream(connection, text="one two", hang_after=1)
            text = (await anext(short)).content
            await anext(long)
            server.process.send_signal(signal.SIGTERM)
            refused = asyncio.create_task(until_refused(front, authority))
            text += await rest(short)
            with pytest.raises(StreamInterruptedError, match="shut down") as caught:
                await anext(long)
            assert await refused is grpc.StatusCode.UNAVAILABLE
    assert (text, caught.value.partial_response) == ("one two three", "one")


async def until_refused(front: str, authority: Authority) -> grpc.StatusCode:
    """Calls until the call is refused; its code.

    gRPC refuses calls that are on their way as the drain begins by CANCELLED, also without a proxy; clients call again.
    """
    request = agent_service_pb2.RunRequest(prompt="x", agent={"model": "scripted/echo"})
    async with stub(front, authority) as agents, asyncio.timeout(20):
        while True:
            try:
                await agents.Run(request)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.CANCELLED:
                    return error.code()
            await asyncio.sleep(0.02)


@asynccontextmanager
async def stub(front: str, authority: Authority) -> AsyncIterator[AgentServiceStub[Any]]:
    """A bare stub behind the proxy."""
    credentials = grpc.ssl_channel_credentials(authority.file.read_bytes())
    async with grpc.aio.secure_channel(front.removeprefix("https://"), credentials) as channel:
        yield AgentServiceStub(channel)
