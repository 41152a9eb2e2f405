"""The Python client and a connection that breaks: its reader sees nothing of it, or one error with the text so far."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from itertools import chain, repeat
from typing import Any

import pytest

from headwater import Agent, HeadwaterError, StreamInterruptedError, StreamTimeoutError
from headwater._call import resuming
from headwater._grpc import channels
from headwater.streaming import StreamChunk
from headwater.v1 import agent_service_pb2
from tests.support.faults.chaos import quick_options
from tests.support.faults.plan import NO_FAULT, Fault, Kind
from tests.support.faults.proxy import FaultyProxy
from tests.support.servers.gate import Gate
from tests.support.servers.server import ServerProcess, clean_environment
from tests.support.stubs.stub import agent_stub

TEXT = " ".join(f"w{i}" for i in range(60))


@pytest.fixture
async def gate(server: ServerProcess) -> AsyncIterator[Gate]:
    async with Gate(int(server.target.rpartition(":")[2])) as gate:
        yield gate


def scripted(**options: Any) -> dict[str, Any]:
    return {"scripted": {"text": TEXT, "delay_ms": 10, **options}}


def agent_at(target: str, **settings: Any) -> Agent:
    return Agent(model="scripted/echo", target=target, history=0, **settings)


async def running(server: ServerProcess) -> int:
    async with agent_stub(server.target) as stub:
        return len((await stub.ListStreams(agent_service_pb2.ListStreamsRequest())).streams)


async def all_ended(server: ServerProcess) -> None:
    while await running(server):
        await asyncio.sleep(0.01)


def cut(gate: Gate) -> None:
    """Cuts the connection, and lets the next one through at once."""
    gate.cut()
    gate.mend()


async def test_a_reply_is_whole_whenever_its_connection_is_cut(gate: Gate) -> None:
    chunks: list[StreamChunk] = []
    async for chunk in agent_at(gate.target).stream("x", provider_options=scripted()):
        chunks.append(chunk)
        if len(chunks) in (1, 2, 7, 20):
            cut(gate)
    assert "".join(chunk.content for chunk in chunks) == TEXT
    numbers = [chunk.metadata["sequence"] for chunk in chunks]
    assert numbers == sorted(set(numbers))
    assert [chunk.is_final for chunk in chunks].count(True) == 1
    assert chunks[-1].metadata["resumes"] >= 4
    assert [index for index, chunk in enumerate(chunks) if "stream_id" in chunk.metadata] == [0]


async def test_a_connection_that_is_cut_before_the_first_chunk_is_replaced(gate: Gate, server: ServerProcess) -> None:
    stream = agent_at(gate.target).stream("x", provider_options=scripted(first_delay_ms=500))
    first = asyncio.create_task(anext(stream))
    while stream.stream_id is None:
        await asyncio.sleep(0.001)
    cut(gate)
    text = (await first).content + "".join([chunk.content async for chunk in stream])
    assert text == TEXT


async def test_a_connection_that_is_cut_before_the_server_has_answered_is_replaced(
    server: ServerProcess, monkeypatch
) -> None:
    noticed: list[channels.OpenChannel] = []
    notice_loss = channels.OpenChannel.notice_loss

    async def notice(channel: channels.OpenChannel) -> None:
        noticed.append(channel)
        await notice_loss(channel)

    monkeypatch.setattr(channels.OpenChannel, "notice_loss", notice)
    in_the_greeting, in_the_request = Fault(Kind.CUT, after=60), Fault(Kind.CUT, toward_server=True, after=200)
    faults = chain([in_the_greeting, in_the_request, in_the_greeting], repeat(NO_FAULT))
    async with FaultyProxy(int(server.target.rpartition(":")[2]), faults) as proxy:
        reply = await agent_at(proxy.target).arun("x", provider_options=scripted(delay_ms=0))
    assert reply.content == TEXT
    assert proxy.happened == {Kind.CUT: 3}
    assert 1 <= len(noticed) <= 3  # gRPC itself replaces one that is cut before it has a call


async def test_a_connection_that_swallows_all_without_a_word_is_replaced(server: ServerProcess, monkeypatch) -> None:
    monkeypatch.setattr(channels, "_OPTIONS", quick_options())
    faults = chain([Fault(Kind.SWALLOW, after=1_000)], repeat(NO_FAULT))
    async with FaultyProxy(int(server.target.rpartition(":")[2]), faults) as proxy:
        stream = agent_at(proxy.target).stream("x", provider_options=scripted(delay_ms=1))
        chunks = [chunk async for chunk in stream]
    assert "".join(chunk.content for chunk in chunks) == TEXT
    assert (chunks[-1].metadata["resumes"], proxy.happened) == (1, {Kind.SWALLOW: 1})


async def test_a_connection_that_only_listens_for_long_is_watched_all_the_time(
    server: ServerProcess, monkeypatch
) -> None:
    options = {**dict(channels._OPTIONS), "grpc.keepalive_time_ms": 100, "grpc.http2.ping_timeout_ms": 500}
    monkeypatch.setattr(channels, "_OPTIONS", tuple(options.items()))
    greeting_and_request, ping = 446, 17  # bytes
    after = greeting_and_request + 2 * ping + 1
    faults = chain([Fault(Kind.SWALLOW, toward_server=True, after=after)], repeat(NO_FAULT))
    async with FaultyProxy(int(server.target.rpartition(":")[2]), faults) as proxy:
        options = scripted(text="one two", delay_ms=3_500)
        chunks = [chunk async for chunk in agent_at(proxy.target).stream("x", provider_options=options)]
    assert "".join(chunk.content for chunk in chunks) == "one two"
    assert (chunks[-1].metadata.get("resumes"), proxy.happened) == (1, {Kind.SWALLOW: 1})


async def test_a_server_that_cannot_be_reached_for_a_moment_is_waited_for(gate: Gate) -> None:
    text = ""
    async for chunk in agent_at(gate.target).stream("x", provider_options=scripted()):
        if not text:
            gate.cut()
            asyncio.get_running_loop().call_later(0.7, gate.mend)
        text += chunk.content
    assert text == TEXT


async def test_a_server_that_is_gone_for_good_is_an_error_with_the_text_so_far(gate: Gate, monkeypatch) -> None:
    monkeypatch.setattr(resuming, "RESUME_SECONDS", 0.3)
    text = ""
    with pytest.raises(StreamInterruptedError) as caught:
        async for chunk in agent_at(gate.target).stream("x", provider_options=scripted()):
            text += chunk.content
            gate.cut()
    assert caught.value.partial_response == text != ""


async def test_a_server_that_was_restarted_has_lost_the_stream_and_says_so() -> None:
    async with contextlib.AsyncExitStack() as stack:
        first = stack.enter_context(ServerProcess("--scripted"))
        first.expected_code = -signal.SIGKILL
        second = stack.enter_context(ServerProcess("--scripted"))
        gate = await stack.enter_async_context(Gate(int(first.target.rpartition(":")[2])))
        with pytest.raises(StreamInterruptedError) as caught:
            async for chunk in agent_at(gate.target).stream("x", provider_options=scripted()):
                assert chunk
                gate.lead_to(int(second.target.rpartition(":")[2]))
                cut(gate)
                first.process.kill()
    assert caught.value.reason == "STREAM_EXPIRED"
    assert caught.value.partial_response.startswith("w0")


async def test_a_stream_that_is_not_to_be_resumed_is_interrupted_at_once(gate: Gate, server: ServerProcess) -> None:
    with pytest.raises(StreamInterruptedError, match="the connection to"):
        async for chunk in agent_at(gate.target).stream("x", provider_options=scripted(), resumable=False):
            assert chunk
            cut(gate)
    await all_ended(server)


async def test_a_typed_error_ends_it_and_is_not_resumed(gate: Gate) -> None:
    stream = agent_at(gate.target).stream(
        "x", provider_options=scripted(fail_after=3, fail_reason="PROVIDER_UNAVAILABLE")
    )
    with pytest.raises(StreamInterruptedError) as caught:
        async for _ in stream:
            pass
    assert caught.value.reason == "STREAM_INTERRUPTED"


async def test_rounds_of_tools_outlive_cuts_in_each_of_them_and_between(gate: Gate) -> None:
    def look_up(word: str) -> str:
        """Look a word up."""
        cut(gate)
        return word

    calls = [{"name": "look_up", "arguments": {"word": "x"}}]
    options = scripted(tool_calls=calls, after_tools={"text": TEXT, "delay_ms": 10})
    text = ""
    async for chunk in agent_at(gate.target, tools=[look_up]).stream("x", provider_options=options):
        text += chunk.content
        if chunk.metadata["sequence"] in (5, 80):
            cut(gate)
    assert text == TEXT + TEXT
    assert chunk.is_final
    assert chunk.metadata["resumes"] >= 2


async def test_a_round_that_the_server_never_heard_of_is_begun_again(gate: Gate) -> None:
    def look_up(word: str) -> str:
        """Look a word up."""
        gate.lose()  # the next round's request does not arrive
        return word

    async def cut_when_lost() -> None:
        await gate.lost()
        cut(gate)

    calls = [{"name": "look_up", "arguments": {"word": "x"}}]
    options = scripted(tool_calls=calls, after_tools={"text": TEXT, "delay_ms": 1})
    cutting = asyncio.create_task(cut_when_lost())
    text = ""
    async for chunk in agent_at(gate.target, tools=[look_up]).stream("x", provider_options=options):
        text += chunk.content
    await cutting
    assert text == TEXT + TEXT


async def leave_the_loop(agent: Agent) -> None:
    async for _ in agent.stream("x", provider_options=scripted(delay_ms=100)):
        break


async def leave_before_a_chunk(agent: Agent) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.1):
            await anext(agent.stream("x", provider_options=scripted(first_delay_ms=60_000)))


async def run_out_of_time(agent: Agent) -> None:
    with contextlib.suppress(StreamTimeoutError, StreamInterruptedError):
        async for _ in agent.stream("x", provider_options=scripted(delay_ms=100), timeout=0.4):
            pass


async def leave_while_the_line_is_cut(agent: Agent) -> None:
    stream = agent.stream("x", provider_options=scripted(delay_ms=100))
    await anext(stream)
    waiting = asyncio.create_task(anext(stream))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError, HeadwaterError):
        await waiting


@pytest.mark.parametrize("leave", [leave_the_loop, leave_before_a_chunk, run_out_of_time, leave_while_the_line_is_cut])
async def test_a_reader_that_leaves_ends_the_stream_in_the_server(server: ServerProcess, leave) -> None:
    await leave(agent_at(server.target))
    async with asyncio.timeout(5):
        await all_ended(server)


@pytest.mark.parametrize("end", ["asyncio.run(main())", "asyncio.run(main()); import time; time.sleep(0.1)"])
async def test_a_program_that_ends_with_an_open_stream_ends_it_in_the_server(server: ServerProcess, end: str) -> None:
    program = f"""
import asyncio
from headwater import Agent

async def main():
    stream = Agent(model="scripted/echo").stream("x", provider_options={scripted(delay_ms=100)!r})
    await anext(stream)
    globals()["kept"] = stream

{end}
"""
    environment = clean_environment(HEADWATER_TARGET=server.target)
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-W", "error", "-c", program], env=environment, capture_output=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, b"")
    async with asyncio.timeout(5):
        await all_ended(server)
