"""The streams of a server at the command line: their list, the rest of one, the end of one."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from headwater import Agent, StreamInterruptedError, StreamTimeoutError
from headwater._call import resuming
from headwater.cli.commands import print_reply
from headwater.v1 import agent_service_pb2
from headwater.v1.agent_service_pb2_grpc import AgentServiceStub
from headwater_server.providers.scripted.words import STORY
from tests.support.servers.gate import Gate
from tests.support.servers.server import clean_environment, run_cli

TEXT = "one two three four five six"
HANGS = {"text": TEXT, "hang_after": 3}


@pytest.fixture
async def stub(server) -> AsyncIterator[AgentServiceStub]:
    async with grpc.aio.insecure_channel(server.target) as channel:
        yield AgentServiceStub(channel)


async def cli(server, *args: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(run_cli, *args, variables={"HEADWATER_TARGET": server.target})


async def begin(stub: AgentServiceStub, *, resumable: bool = True, **scripted: Any) -> tuple[str, Any]:
    """Opens a stream and reads its first chunk: the stream's id, and the call."""
    request = agent_service_pb2.StreamRequest(agent={"model": "scripted/echo"}, prompt="a secret", resumable=resumable)
    request.agent.provider_options["scripted"].update(scripted)
    call = stub.Stream(request)
    return (await call.read()).stream_id, call


async def read_out(call: Any) -> None:
    """Reads a stream to its end."""
    while await call.read() is not grpc.aio.EOF:
        pass


async def row_of(server, stream_id: str) -> list[str]:
    """The cells of a stream in the list."""
    lines = (await cli(server, "streams")).stdout.splitlines()
    assert lines[0].split() == ["STREAM", "STATE", "MODEL", "STARTED", "CHUNK", "RESUMABLE"]
    return next(line.split() for line in lines if line.startswith(stream_id))


async def test_streams_that_run_or_are_kept_are_listed_without_their_words(server, stub):
    running, call = await begin(stub, **HANGS)
    await call.read()
    await call.read()
    plain, other = await begin(stub, resumable=False, **HANGS)
    detached, left = await begin(stub, **HANGS)
    left.cancel()
    ended, whole = await begin(stub, text=TEXT)
    await read_out(whole)
    cells = await row_of(server, running)
    assert (cells[1:3], cells[-2:]) == (["attached", "scripted/echo"], ["3", "yes"])
    cells = await row_of(server, plain)
    assert (cells[1], cells[-2:]) == ("attached", ["3", "no"])
    assert (await row_of(server, detached))[1] == "detached"
    cells = await row_of(server, ended)
    assert (cells[1], cells[-2:]) == ("ended", ["7", "yes"])
    listed = await cli(server, "streams", "--json")
    assert {running, plain, detached, ended} <= {each["stream_id"] for each in json.loads(listed.stdout)["streams"]}
    assert "secret" not in listed.stdout
    assert "three" not in listed.stdout
    for each in (call, other):
        each.cancel()


async def test_only_running_streams_are_listed_for_a_caller_that_does_not_ask_for_more(server, stub):
    ended, whole = await begin(stub, text=TEXT)
    await read_out(whole)
    listed = await stub.ListStreams(agent_service_pb2.ListStreamsRequest(page_size=1000))
    assert ended not in [each.stream_id for each in listed.streams]


async def test_kept_streams_come_in_pages_too(server, stub):
    ids = []
    for _ in range(4):
        stream_id, call = await begin(stub, text=TEXT)
        ids.append(stream_id)
        await read_out(call)
    found, request = [], agent_service_pb2.ListStreamsRequest(page_size=1, show_ended=True)
    while True:
        page = await stub.ListStreams(request)
        found += [each.stream_id for each in page.streams]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert [stream_id for stream_id in found if stream_id in ids] == ids
    assert len(found) == len(set(found))


async def test_a_stream_that_was_cut_is_printed_from_its_begin_or_after_a_chunk(server, stub):
    stream_id, call = await begin(stub, text=TEXT, delay_ms=20)
    call.cancel()
    whole = await cli(server, "stream", "--resume", stream_id)
    assert (whole.returncode, whole.stdout, whole.stderr) == (0, TEXT + "\n", "")
    rest = await cli(server, "stream", "--resume", stream_id, "--after", "4", "--json")
    chunks = [json.loads(line) for line in rest.stdout.splitlines()]
    assert "".join(chunk["content"] for chunk in chunks) == " five six"
    assert chunks[-1]["is_final"]


async def test_a_stream_is_ended_by_its_id(server, stub):
    stream_id, call = await begin(stub, **HANGS)
    done = await cli(server, "cancel", stream_id)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{stream_id} is cancelled\n", "")
    with pytest.raises(grpc.aio.AioRpcError, match="ended by CancelStream"):
        await read_out(call)
    again = await cli(server, "cancel", stream_id)
    assert again.returncode == 3
    assert "`headwater streams` lists those that run" in again.stderr


async def test_the_end_of_a_stream_is_json_where_that_is_asked_for(server, stub):
    stream_id, call = await begin(stub, **HANGS)
    done = await cli(server, "cancel", stream_id, "--json")
    assert (done.returncode, json.loads(done.stdout), done.stderr) == (0, {}, "")
    with pytest.raises(grpc.aio.AioRpcError, match="ended by CancelStream"):
        await read_out(call)


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["--after", "3", "x"], 2, "--after needs --resume"),
        (["--resume", "str_x", "x"], 2, "leave PROMPT out"),
        (["--resume", "str_x", "--max-tokens", "3"], 2, "leave --max-tokens out"),
        (["--resume", "str_x", "--after", "-1"], 2, "--after"),
        (["--resume", "str_x"], 3, "no resumable stream has this id; `headwater streams` lists those"),
        (["--resume", f"str_0_{'a' * 22}_r"], 3, "or another server has it"),
    ],
)
async def test_what_cannot_be_resumed_is_said(server, args, code, words):
    done = await cli(server, "stream", *args)
    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr


async def test_ctrl_c_ends_the_stream_that_was_resumed(server, stub):
    stream_id, call = await begin(stub, **HANGS)
    call.cancel()
    command = [sys.executable, "-m", "headwater.cli", "stream", "--resume", stream_id]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.PIPE, env=clean_environment(HEADWATER_TARGET=server.target)
    )
    assert process.stdout is not None
    assert await process.stdout.readexactly(len("one two three")) == b"one two three"
    process.send_signal(2)
    assert await asyncio.wait_for(process.wait(), 20) == 130
    with pytest.raises(grpc.aio.AioRpcError, match="no stream with this id is running"):
        await stub.CancelStream(agent_service_pb2.CancelStreamRequest(stream_id=stream_id))


async def test_a_connection_that_stays_lost_leaves_the_command_for_the_rest(server, monkeypatch, capsys):
    monkeypatch.setattr(resuming, "RESUME_SECONDS", 0.2)
    async with Gate(int(server.target.rpartition(":")[2])) as gate:
        reading = asyncio.create_task(print_reply(Agent(target=gate.target, model="scripted/story"), "x"))
        printed = ""
        while printed.count(" ") < 5:
            await asyncio.sleep(0.01)
            printed += capsys.readouterr().out
        gate.cut()
        with pytest.raises(StreamInterruptedError):
            await reading
    found = capsys.readouterr()
    printed += found.out
    command = found.err.partition("the rest: headwater ")[2].split()
    assert command[:2] == ["stream", "--resume"]
    assert command[-2:] == ["--target", gate.target]
    rest = await cli(server, *command[:-2])
    assert printed.rstrip("\n") + rest.stdout == STORY + "\n"


async def test_a_reply_that_took_too_long_was_ended_and_has_no_rest(server, capsys):
    with pytest.raises(StreamTimeoutError):
        await print_reply(Agent(target=server.target, model="scripted/story", timeout=0.5), "x")
    found = capsys.readouterr()
    assert STORY.startswith(found.out.rstrip("\n"))
    assert "the rest" not in found.err


async def test_a_chunk_that_a_stream_does_not_have_is_refused_with_its_last_one(server, stub):
    stream_id, call = await begin(stub, text=TEXT)
    await read_out(call)
    done = await cli(server, "stream", "--resume", stream_id, "--after", "99")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "headwater: --after: 99 is not the sequence of a chunk of this stream; its last is 7\n"
