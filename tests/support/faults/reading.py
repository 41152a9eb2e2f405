"""All that a caller of a stream has in the end, read by the Python client or by a bare stub that resumes by hand."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from typing import Any

import grpc

from headwater import Agent, Connection, HeadwaterError, StreamInterruptedError
from headwater.v1 import agent_service_pb2
from headwater.v1.agent_service_pb2_grpc import AgentServiceStub
from tests.support.faults.truth import Round, Truth, result_of
from tests.support.stubs.stub import details

LONGEST_SECONDS = 60.0
"""Until then every stream has an end."""
_PAUSE_SECONDS = 0.02
_LOST = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.CANCELLED)
_PROVIDERS_ERRORS = ("STREAM_INTERRUPTED", "PROVIDER_UNAVAILABLE", "STREAM_TIMEOUT")


@dataclass
class Got:
    """All that a caller was given.

    Attributes:
        ends: how many final chunks and errors came.
        error: the reason of the error, or its name; empty for none.
        partial: the text so far that the error has; None where it has none.
        ran: the words with which the tool was called.
        resumes: how often the stream was resumed.
    """

    text: str = ""
    thinking: str = ""
    calls: list[tuple[str, Any]] = field(default_factory=list)
    ends: int = 0
    error: str = ""
    message: str = ""
    partial: str | None = None
    ran: list[str] = field(default_factory=list)
    resumes: int = 0
    sequences: list[int] = field(default_factory=list)

    def faults(self, truth: Truth, *, may_fail: bool) -> list[str]:
        """All that is wrong with it, in words."""
        last, rising = truth.rounds[-1], self.sequences == sorted(set(self.sequences))
        checks = [
            (self.ends == 1, f"{self.ends} ends"),
            (rising, f"the sequences do not rise: {self.sequences}"),
            (self.partial in (None, self.text), f"the error has the text {self.partial!r} instead of {self.text!r}"),
        ]
        if self.error:
            checks += [
                (may_fail and self.error in _PROVIDERS_ERRORS, f"the error {self.error}: {self.message}"),
                (truth.text.startswith(self.text), f"the text {self.text!r} does not begin {truth.text!r}"),
                (truth.thinking.startswith(self.thinking), f"the thinking {self.thinking!r}, not {truth.thinking!r}"),
            ]
        else:
            called = _words(truth.rounds[:-1])
            checks += [
                (self.text == truth.text, f"the text {self.text!r} instead of {truth.text!r}"),
                (self.thinking == truth.thinking, f"the thinking {self.thinking!r} instead of {truth.thinking!r}"),
                (self.calls == list(last.calls), f"the calls {self.calls} instead of {last.calls}"),
                (sorted(self.ran) == sorted(called), f"the tool ran for {self.ran} instead of {called}"),
            ]
        return [f"stream {truth.name}: {what}" for is_so, what in checks if not is_so]


def _words(rounds: tuple[Round, ...]) -> list[str]:
    return [arguments["word"] for each in rounds for _, arguments in each.calls]


async def read_with_client(connection: Connection, provider: str, truth: Truth) -> Got:
    """Reads a stream with the Python client; its tool runs for as long as the round before has pauses."""
    got = Got()

    async def look_up(word: str) -> str:
        """Look a word up."""
        got.ran.append(word)
        await asyncio.sleep(truth.pause)
        return result_of(word)

    tools = [look_up] if len(truth.rounds) > 1 else []
    agent = Agent(provider=provider, model="m", connection=connection, tools=tools, history=0)
    try:
        async with asyncio.timeout(LONGEST_SECONDS):
            async for chunk in agent.stream(truth.name):
                got.text += chunk.content
                got.thinking += chunk.metadata.get("thinking", "")
                got.sequences.append(chunk.metadata["sequence"])
                if chunk.is_final:
                    got.ends += 1
                    got.calls = [(call["name"], call["arguments"]) for call in chunk.metadata.get("tool_calls", ())]
                    got.resumes = chunk.metadata.get("resumes", 0)
    except HeadwaterError as error:
        got.ends += 1
        got.error = error.reason or f"{type(error).__name__}: {error}"
        got.message = str(error)
        got.partial = error.partial_response if isinstance(error, StreamInterruptedError) else None
    except TimeoutError:
        got.error = "no end"
    return got


async def read_with_stub(channel: grpc.aio.Channel, provider: str, truth: Truth) -> Got:
    """Reads a stream of one round with a bare stub, which asks for the rest whenever its connection is lost."""
    got = Got()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LONGEST_SECONDS):
            await _read_by_hand(AgentServiceStub(channel), provider, truth, got)
    if not got.ends:
        got.error = "no end"
    return got


async def _read_by_hand(stub: AgentServiceStub, provider: str, truth: Truth, got: Got) -> None:
    stream_id = ""
    while not got.ends:
        if stream_id:
            after = got.sequences[-1] if got.sequences else 0
            call = stub.ResumeStream(agent_service_pb2.ResumeStreamRequest(stream_id=stream_id, after_sequence=after))
            got.resumes += 1
        else:
            request = agent_service_pb2.StreamRequest(prompt=truth.name, resumable=True)
            request.agent.provider, request.agent.model = provider, "m"
            call = stub.Stream(request)
        try:
            stream_id = str(dict(await call.initial_metadata()).get("headwater-stream-id", stream_id))
            async for message in call:
                got.text += message.content
                got.thinking += message.thinking
                got.sequences.append(message.sequence)
                if message.is_final:
                    got.ends += 1
                    got.calls = [(each.name, json.loads(each.arguments_json)) for each in message.tool_calls]
        except grpc.aio.AioRpcError as error:
            if not got.ends:
                _note(error, got)
            await asyncio.sleep(_PAUSE_SECONDS)


def _note(error: grpc.aio.AioRpcError, got: Got) -> None:
    """Takes note of an end that is the stream's, and not only the call's."""
    info: Any = details(error).get("ErrorInfo")
    if info.metadata["detached"] == "true" if info is not None else error.code() in _LOST:
        return
    got.ends += 1
    got.error = str(info.reason) if info is not None else f"{error.code().name}: {error.details()}"
