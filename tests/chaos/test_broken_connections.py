"""Connections that break: a reply that is cut anywhere is never taken for whole, and the next call works."""

from __future__ import annotations

import asyncio
import random
import signal
import socket
import struct
import time
from collections.abc import Mapping
from typing import Any

import pytest

from headwater import Agent, HeadwaterError, ServerUnavailableError, StreamInterruptedError
from headwater._call import resuming
from headwater.v1.agent_service_pb2 import ListStreamsRequest
from tests.support.servers.server import ServerProcess, provider_variables
from tests.support.stubs.stub import agent_stub
from tests.support.upstream.fixtures import Fixture, load_fixtures
from tests.support.upstream.upstream import Upstream

SEED = 20261122
CUTS = 20

# Fixture, provider, API. All end well when they are not cut.
REPLIES = [
    ("openai-usage", "openai", "chat_completions"),
    ("openai-tool-calls-parallel", "openai", "chat_completions"),
    ("openai-responses-reasoning-summary", "openai", "responses"),
    ("anthropic-thinking", "anthropic", None),
    ("anthropic-tools-parallel", "anthropic", None),
    ("ollama-chat-thinking", "ollama", None),
]


class Cut:
    """An answer that breaks off: `size` bytes of the body come, then the connection ends, by RST if `reset`."""

    def __init__(self, head: bytes, body: bytes) -> None:
        self.head = head
        self.body = body
        self.size = 0
        self.reset = False

    async def __call__(self, writer: asyncio.StreamWriter) -> None:
        writer.write(self.head + self.body[: self.size])
        await writer.drain()
        if self.reset:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


async def ask(agent: Agent, api: str | None) -> tuple[str, str, bool, HeadwaterError | None]:
    """Text, thinking, whether a final chunk came, and the error."""
    text, thinking, final = "", "", False
    options = {"openai": {"api": api}} if api else None
    try:
        async for chunk in agent.stream("Hi", provider_options=options):
            text += chunk.content
            thinking += chunk.metadata.get("thinking", "")
            final = final or chunk.is_final
    except HeadwaterError as error:
        return text, thinking, final, error
    return text, thinking, final, None


@pytest.mark.parametrize(("name", "provider", "api"), REPLIES)
async def test_a_reply_cut_anywhere_is_an_error_with_what_had_come(name, provider, api):
    fixture = load_fixtures()[name]
    cut = Cut(b"", b"")
    async with Upstream(cut) as upstream:
        with ServerProcess("--scripted", variables=provider_variables(upstream.url)) as server:
            agent = Agent(provider=provider, model="m", target=server.target, history=0)
            for framing in ("length", "chunked", "close"):
                chance = random.Random(f"{SEED} {name} {framing}")  # noqa: S311  repeatable, not secret
                cut.head, cut.body = framed(fixture, framing)
                await check_cuts(agent, api, cut, fixture.expected, chance)


def framed(fixture: Fixture, framing: str) -> tuple[bytes, bytes]:
    """The head and the body of an answer whose end its length, its last chunk, or the end of the connection says."""
    whole = fixture.body if framing != "chunked" else b"%x\r\n%b\r\n0\r\n\r\n" % (len(fixture.body), fixture.body)
    extra = {"length": f"content-length: {len(whole)}", "chunked": "transfer-encoding: chunked", "close": "x: y"}
    return f"HTTP/1.1 200 OK\r\ncontent-type: {fixture.content_type}\r\n{extra[framing]}\r\n\r\n".encode(), whole


async def check_cuts(
    agent: Agent, api: str | None, cut: Cut, expected: Mapping[str, Any], chance: random.Random
) -> None:
    """Asks again and again, and cuts each answer somewhere else; the last one is whole."""
    cut_short = 0
    for _ in range(CUTS):
        cut.size = chance.randrange(len(cut.body))
        cut.reset = chance.random() < 0.3
        text, thinking, final, error = await ask(agent, api)
        assert expected["text"].startswith(text)
        assert expected["thinking"].startswith(thinking)
        if final:
            # The protocol's own end came before the cut: then all of the reply did.
            assert error is None
            assert (text, thinking) == (expected["text"], expected["thinking"])
            continue
        cut_short += 1
        assert error is not None
        assert error.reason in ("STREAM_INTERRUPTED", "PROVIDER_UNAVAILABLE")
        assert (error.reason == "PROVIDER_UNAVAILABLE") == (not isinstance(error, StreamInterruptedError))
    assert cut_short > CUTS // 2
    cut.size, cut.reset = len(cut.body), False
    assert (await ask(agent, api))[2:] == (True, None)


async def test_a_killed_server_is_an_interruption_with_the_partial_text_and_its_successor_answers(monkeypatch):
    monkeypatch.setattr(resuming, "RESUME_SECONDS", 0.3)
    options = {"scripted": {"text": "one two three", "hang_after": 2}}
    with ServerProcess("--scripted") as server:
        agent = Agent(model="scripted/echo", target=server.target)
        stream = agent.stream("Hi", provider_options=options)
        text = ""
        while text != "one two":  # in one chunk or two: deltas that wait are merged
            text += (await anext(stream)).content
        server.expected_code = -signal.SIGKILL
        server.process.kill()
        with pytest.raises(StreamInterruptedError) as caught:
            await anext(stream)
        assert caught.value.partial_response == "one two"
    with pytest.raises(ServerUnavailableError):
        await agent.arun("Hi")
    port = server.target.rpartition(":")[2]
    with ServerProcess("--scripted", "--port", port):
        back_at = time.monotonic()
        while True:  # gRPC looks again for a server that was gone within a second or so
            try:
                reply = await agent.arun("Hi", provider_options={"scripted": {"text": "back"}})
                break
            except ServerUnavailableError:
                assert time.monotonic() - back_at < 5
                await asyncio.sleep(0.05)
    assert reply.content == "back"


async def test_callers_that_come_and_go_at_random_leave_nothing_behind(processes):
    chance = random.Random(SEED)  # noqa: S311  repeatable, not secret
    options = {"scripted": {"text": "word " * 50, "delay_ms": 2}}
    with ServerProcess("--scripted", processes=processes) as server:
        agent = Agent(model="scripted/echo", target=server.target, history=0)

        async def visit(chunks: int) -> None:
            async for chunk in agent.stream("Hi", provider_options=options):
                chunks -= 1
                if chunks <= 0 or chunk.is_final:
                    return

        async def visitor() -> None:
            for _ in range(10):
                task = asyncio.create_task(visit(chance.randrange(1, 60)))
                await asyncio.wait([task], timeout=chance.random() * 0.1)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

        await asyncio.gather(*(visitor() for _ in range(30)))
        reply = await agent.arun("Hi", provider_options={"scripted": {"text": "ok"}})
        assert reply.content == "ok"
        async with agent_stub(server.target) as stub, asyncio.timeout(1):
            # The cancels of the visitors are on their way.
            while (await stub.ListStreams(ListStreamsRequest())).streams:
                await asyncio.sleep(0.01)
        server.stop()
        left = [event["streams"] for event in server.events if event["event"] == "draining"]
    assert left == [0] * processes
    codes = {(event["rpc"], event["code"]) for event in server.events if event["event"] == "rpc"}
    assert codes - {("CancelStream", "NOT_FOUND")} <= {(rpc, code) for rpc, _ in codes for code in ("OK", "CANCELLED")}
