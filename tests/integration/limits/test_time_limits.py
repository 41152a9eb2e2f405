"""The limits of a stream in time, with the real server: which one ends it, what its caller gets, and what it can set."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration

from headwater import Agent, ProviderError, StreamTimeoutError
from headwater.v1 import agent_pb2, agent_service_pb2
from headwater.v1.agent_service_pb2_grpc import AgentServiceStub
from tests.support.servers.server import ServerProcess, provider_variables
from tests.support.upstream.upstream import Upstream

Send = Callable[[bytes], Awaitable[None]]

EVENT_STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
CHAT = json.dumps({"id": "1", "choices": [{"index": 0, "delta": {"content": "Well"}}]})
ANTHROPIC = (
    {"type": "message_start", "message": {"id": "m", "usage": {"input_tokens": 1, "output_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Well"}},
)
BEGINNINGS = {
    "gpt-4o": b"data: " + CHAT.encode() + b"\n\n",
    "claude-sonnet-4-6": b"".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in ANTHROPIC),
    "llama3.2": json.dumps({"message": {"role": "assistant", "content": "Well"}, "done": False}).encode() + b"\n",
}
SIGNS = {
    "gpt-4o": b": still working\n\n",
    "claude-sonnet-4-6": b'event: ping\ndata: {"type": "ping"}\n\n',
    "llama3.2": b"\n",
}


def model_of(upstream: Upstream) -> str:
    return str(json.loads(upstream.bodies[-1])["model"])


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    """A provider that says a word, then gives signs of life for ever."""

    async def word_and_signs(writer: asyncio.StreamWriter) -> None:
        model = model_of(provider)
        writer.write(EVENT_STREAM + BEGINNINGS[model])
        while True:
            writer.write(SIGNS[model])
            await writer.drain()
            await asyncio.sleep(0.02)

    async with Upstream(word_and_signs) as provider:
        yield provider


async def end_of(agent: Agent, **arguments: object) -> StreamTimeoutError:
    with pytest.raises(StreamTimeoutError) as caught:
        async for _ in agent.stream("Hi", **arguments):  # type: ignore[arg-type]
            pass
    return caught.value


@pytest.mark.parametrize("model", BEGINNINGS)
async def test_signs_of_life_keep_a_stream_alive_but_not_for_ever(upstream, model):
    variables = {"HEADWATER_NEXT_CHUNK_SECONDS": "0.5", "HEADWATER_MAX_SILENCE_SECONDS": "0.8"}
    with ServerProcess(variables={**provider_variables(upstream.url), **variables}) as server:
        error = await end_of(Agent(model=model, target=server.target))
    assert error.partial_response == "Well"
    assert "signs of life, but sent no chunk within 0.8 seconds; allow more with max_silence_seconds" in str(error)


@pytest.mark.parametrize("processes", [1, 2])
async def test_each_limit_of_a_request_ends_its_stream_and_is_named(processes):
    with ServerProcess("--scripted", processes=processes) as server:
        agent = Agent(provider="scripted", target=server.target)

        async def end(limit: str, **options: object) -> str:
            error = await end_of(agent, timeouts={limit: 0.2}, provider_options={"scripted": options})
            return f"{error.partial_response}|{error}"

        ends = await asyncio.gather(
            end("first_chunk", hang_after=0),
            end("next_chunk", text="Well then", hang_after=1),
            end("total", text="Well then", delay_ms=60_000),
        )
    for found, words in zip(
        ends, ("|the provider sent no first", "Well|the provider sent no next", "Well|the reply took"), strict=True
    ):
        assert words in found
    for found, name in zip(ends, ("first_chunk", "next_chunk", "total"), strict=True):
        assert f"allow more with timeouts.{name} of the agent" in found


async def test_the_limits_of_a_provider_stand_between_those_of_the_request_and_the_server(tmp_path):
    file = tmp_path / "headwater.toml"
    file.write_text(
        "[server]\nnext_chunk_seconds = 60.0\n[providers.scripted]\nenabled = true\nnext_chunk_seconds = 0.2\n"
    )
    options = {"scripted": {"text": "Well then", "hang_after": 1}}
    with ServerProcess("--config", str(file)) as server:
        agent = Agent(provider="scripted", target=server.target)
        assert "within 0.2 seconds" in str(await end_of(agent, provider_options=options))
        assert "within 0.3 seconds" in str(await end_of(agent, provider_options=options, timeouts={"next_chunk": 0.3}))


@pytest.mark.parametrize("method", ["Stream", "Run"])
async def test_the_deadline_of_a_call_ends_the_providers_work(method):
    closed = asyncio.Event()

    async def word_and_signs(writer: asyncio.StreamWriter) -> None:
        writer.write(EVENT_STREAM + BEGINNINGS["gpt-4o"])
        try:
            while not writer.is_closing():
                writer.write(SIGNS["gpt-4o"])
                await writer.drain()
                await asyncio.sleep(0.02)
        finally:
            closed.set()

    async with Upstream(word_and_signs) as provider:
        with ServerProcess(variables=provider_variables(provider.url)) as server:
            async with grpc.aio.insecure_channel(server.target) as channel:
                request = getattr(agent_service_pb2, f"{method}Request")(prompt="Hi", agent={"model": "gpt-4o"})
                call = getattr(AgentServiceStub(channel), method)(request, timeout=0.5)
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await (call if method == "Run" else call.read())
                    await call.read()
                assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
                async with asyncio.timeout(2):
                    await closed.wait()


async def test_a_connection_that_is_not_accepted_ends_by_the_limit_of_the_request():
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(3)]
        for each in waiting:  # they fill the queue of connections to be accepted
            each.setblocking(False)
            each.connect_ex(address)
        try:
            with ServerProcess(variables=provider_variables(f"http://127.0.0.1:{address[1]}")) as server:
                began = time.monotonic()
                with pytest.raises(ProviderError, match=r"timeouts\.connect of the request"):
                    await Agent(model="gpt-4o", target=server.target).arun("Hi", timeouts={"connect": 0.2})
                assert time.monotonic() - began < 5
        finally:
            for each in waiting:
                each.close()


@pytest.mark.parametrize("name", ["first_chunk", "next_chunk", "connect", "total"])
async def test_a_limit_that_cannot_be_is_named_with_its_bounds(server, name):
    async with grpc.aio.insecure_channel(server.target) as channel:
        timeouts = agent_pb2.Timeouts(**{name: Duration(seconds=-1)})
        request = agent_service_pb2.StreamRequest(prompt="Hi", agent=agent_pb2.AgentConfig(timeouts=timeouts))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await AgentServiceStub(channel).Stream(request).read()
    assert caught.value.details() == f"agent.timeouts.{name}: must be above 0 and at most 1 day, is -1 s"


async def test_a_quiet_stream_has_heartbeats_if_it_is_asked_and_the_log_has_none():
    options = {"text": "Well then", "first_delay_ms": 1_300, "delay_ms": 1_300}
    with ServerProcess("--scripted") as server:
        async with grpc.aio.insecure_channel(server.target) as channel:
            stub, second = AgentServiceStub(channel), Duration(seconds=1)
            request = agent_service_pb2.StreamRequest(
                prompt="Hi", agent=agent_pb2.AgentConfig(provider="scripted"), heartbeat_interval=second, resumable=True
            )
            request.agent.provider_options["scripted"].update(options)
            call = stub.Stream(request)
            chunks = [await call.read() for _ in range(2)]
            assert chunks[0] == agent_pb2.StreamChunk()
            assert (chunks[1].sequence, chunks[1].content, bool(chunks[1].stream_id)) == (1, "Well", True)
            resume = agent_service_pb2.ResumeStreamRequest(stream_id=chunks[1].stream_id, heartbeat_interval=second)
            resumed = [chunk async for chunk in stub.ResumeStream(resume)]
            assert [chunk.content for chunk in resumed] == ["Well", "", " then", ""]
            assert [chunk.sequence for chunk in resumed] == [1, 0, 2, 3]
            assert [(await call.read()).sequence for _ in range(3)] == [0, 2, 3]


async def test_the_python_client_asks_for_heartbeats_and_yields_none():
    options = {"text": "Well then", "first_delay_ms": 1_200}
    with ServerProcess("--scripted") as server:
        agent = Agent(provider="scripted", target=server.target)
        stream = agent.stream("Hi", heartbeat=1, provider_options={"scripted": options})
        assert [(chunk.metadata["sequence"], chunk.content) async for chunk in stream] == [
            (1, "Well"),
            (2, " then"),
            (3, ""),
        ]


@pytest.mark.parametrize("seconds", [0, -1, 86_401])
async def test_a_heartbeat_that_cannot_be_is_named(server, seconds):
    async with grpc.aio.insecure_channel(server.target) as channel:
        stub, bad = AgentServiceStub(channel), Duration(seconds=seconds)
        asked = stub.Stream(agent_service_pb2.StreamRequest(prompt="Hi", heartbeat_interval=bad))
        resumed = stub.ResumeStream(agent_service_pb2.ResumeStreamRequest(stream_id="a", heartbeat_interval=bad))
        for call in (asked, resumed):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
            what = f"heartbeat_interval: must be at least 1 s and at most 1 day, is {seconds} s"
            assert caught.value.details() == what
