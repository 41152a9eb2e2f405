"""A resumable stream over real connections: whichever call was cut, and whichever process is asked, the rest comes."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from headwater.v1 import agent_pb2, agent_service_pb2
from headwater.v1.agent_service_pb2_grpc import AgentServiceStub
from tests.support.servers.server import ServerProcess
from tests.support.stubs.stub import details

ROOT = Path(__file__).parents[3]
GRPCURL = ROOT / ".tools" / "bin" / "grpcurl"
WORDS_OF_STORY = 141
OPTIONS = (("grpc.use_local_subchannel_pool", 1),)
WORDS = [f"w{i}" for i in range(40)]
TEXT = " ".join(WORDS)


def request(delay_ms: int = 10, *, resumable: bool = True, text: str = TEXT, **options: object):
    scripted = {"text": text, "delay_ms": delay_ms, **options}
    question = agent_service_pb2.StreamRequest(agent={"model": "scripted/echo"}, prompt="x", resumable=resumable)
    question.agent.provider_options["scripted"].update(scripted)
    return question


@pytest.fixture
async def stub(server: ServerProcess) -> AsyncIterator[AgentServiceStub]:
    async with grpc.aio.insecure_channel(server.target, options=OPTIONS) as channel:
        yield AgentServiceStub(channel)


async def leave_after(server: ServerProcess, count: int, **options: object) -> tuple[str, int, str]:
    """Opens a stream on a connection that is closed after so many deltas: its id, the last sequence, the text so far."""
    async with grpc.aio.insecure_channel(server.target, options=OPTIONS) as channel:
        call = AgentServiceStub(channel).Stream(request(**options))  # type: ignore[arg-type]
        headers = dict(await call.initial_metadata())
        text, sequence = "", 0
        while sequence < count:
            chunk = await call.read()
            text, sequence = text + chunk.content, chunk.sequence
    return str(headers["headwater-stream-id"]), sequence, text


def asking(stream_id: str, after: int = 0) -> agent_service_pb2.ResumeStreamRequest:
    return agent_service_pb2.ResumeStreamRequest(stream_id=stream_id, after_sequence=after)


async def rest_of(stub: AgentServiceStub, stream_id: str, after: int = 0) -> list[agent_pb2.StreamChunk]:
    return [chunk async for chunk in stub.ResumeStream(asking(stream_id, after))]


def reason_of(error: grpc.aio.AioRpcError) -> str:
    return str(details(error)["ErrorInfo"].reason)  # type: ignore[attr-defined]


def joined(chunks: list[agent_pb2.StreamChunk]) -> str:
    return "".join(chunk.content for chunk in chunks)


@pytest.mark.parametrize("count", [0, 1, 7, 40])
async def test_a_lost_connection_loses_and_doubles_nothing(server, stub, count):
    stream_id, sequence, text = await leave_after(server, count)
    rest = await rest_of(stub, stream_id, sequence)
    assert text + joined(rest) == TEXT
    assert [chunk.is_final for chunk in rest].count(True) == 1
    assert rest[-1].is_final
    assert (rest[0].stream_id, rest[0].model, rest[0].resumable) == (stream_id, "echo", True)


async def test_it_can_be_resumed_again_and_again_before_any_chunk_and_after_the_end(server, stub):
    stream_id, *_ = await leave_after(server, 0, first_delay_ms=300)
    for _ in range(2):
        call = stub.ResumeStream(asking(stream_id))
        await call.initial_metadata()
        call.cancel()
    for _ in range(2):
        assert joined(await rest_of(stub, stream_id)) == TEXT
    assert [chunk.is_final for chunk in await rest_of(stub, stream_id, 41)] == [True]


async def test_several_callers_read_it_at_once(server, stub):
    stream_id, *_ = await leave_after(server, 3)
    read = await asyncio.gather(*(rest_of(stub, stream_id) for _ in range(5)))
    assert {joined(chunks) for chunks in read} == {TEXT}


async def test_a_cancelled_one_ends_for_those_who_resume_it(server, stub):
    stream_id, sequence, _ = await leave_after(server, 3, delay_ms=100)
    await stub.CancelStream(agent_service_pb2.CancelStreamRequest(stream_id=stream_id))
    for _ in range(2):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await rest_of(stub, stream_id, sequence)
        assert (caught.value.code(), reason_of(caught.value)) == (
            grpc.StatusCode.CANCELLED,
            "STREAM_CANCELLED",
        )


async def test_its_error_comes_after_what_it_had_said(server, stub):
    stream_id, *_ = await leave_after(server, 1, fail_after=5, fail_reason="PROVIDER_UNAVAILABLE")
    got: list[agent_pb2.StreamChunk] = []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for chunk in stub.ResumeStream(asking(stream_id)):
            got.append(chunk)
    assert joined(got).split() == WORDS[:5]
    assert reason_of(caught.value) == "STREAM_INTERRUPTED"


async def test_a_plain_stream_says_that_it_cannot_be_resumed(server, stub):
    call = stub.Stream(request(resumable=False, delay_ms=100))
    first = await call.read()
    assert not first.resumable
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await rest_of(stub, first.stream_id)
    assert (caught.value.code(), reason_of(caught.value)) == (grpc.StatusCode.NOT_FOUND, "STREAM_NOT_FOUND")
    call.cancel()


@pytest.mark.parametrize(
    ("stream_id", "after", "field"),
    [("", 0, "stream_id"), ("str_0_aaaaaaaaaaaaaaaaaaaaaa_r", -1, "after_sequence"), (None, 39_999, "after_sequence")],
)
async def test_bad_requests_are_named(server, stub, stream_id, after, field):
    if stream_id is None:
        stream_id, *_ = await leave_after(server, 1)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await rest_of(stub, stream_id, after)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert field in caught.value.details()


async def test_the_id_of_a_log_that_is_gone_is_expired(server, stub):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await rest_of(stub, "str_0_aaaaaaaaaaaaaaaaaaaaaa_r", 3)
    assert (caught.value.code(), reason_of(caught.value)) == (grpc.StatusCode.OUT_OF_RANGE, "STREAM_EXPIRED")


async def test_a_round_of_tools_continues_the_log(server, stub):
    first = [chunk async for chunk in stub.Stream(request(tool_calls=[{"name": "f", "arguments": {}}]))]
    again = request()
    again.continues_stream_id, again.continues_sequence = first[0].stream_id, first[-1].sequence
    call = stub.Stream(again)
    chunk = await call.read()
    call.cancel()
    assert (chunk.stream_id, chunk.resumable) == (first[0].stream_id, True)
    rest = await rest_of(stub, chunk.stream_id, chunk.sequence)
    assert chunk.content + joined(rest) == TEXT


@pytest.mark.skipif(not (GRPCURL.exists() or shutil.which("go")), reason="grpcurl is built with Go, which is not here")
def test_the_example_with_grpcurl_shows_the_rest_of_the_story(server):
    path = os.pathsep.join([str(GRPCURL.parent), os.environ["PATH"]])
    variables = {**os.environ, "PATH": path, "HEADWATER_TARGET": server.target}
    done = subprocess.run(
        ["bash", str(ROOT / "examples" / "streaming" / "resume.sh")],
        env=variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    first, _, rest = done.stdout.partition("\n")
    number = int(first.split()[3])
    words = "".join(json.loads(line.partition(": ")[2].rstrip(",")) for line in rest.splitlines()).split()
    assert 0 < number < WORDS_OF_STORY
    assert len(words) == WORDS_OF_STORY - number


async def test_a_caller_that_stops_reading_is_let_go_and_can_come_back():
    word = "x" * 20_000
    with ServerProcess("--scripted", variables={"HEADWATER_IDLE_READER_SECONDS": "0.5"}) as server:
        options = (*OPTIONS, ("grpc.http2.bdp_probe", 0))  # else megabytes wait on the caller's side
        async with grpc.aio.insecure_channel(server.target, options=options) as channel:
            stub = AgentServiceStub(channel)
            call = stub.Stream(request(0, text=word, repeat=200))
            first = await call.read()
            while "STREAM_TIMEOUT" not in server.log:
                await asyncio.sleep(0.05)
            rest = await rest_of(stub, first.stream_id, first.sequence)
            assert first.content + joined(rest) == " ".join([word] * 200)
            call.cancel()
