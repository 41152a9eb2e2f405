"""The Python client and a server that resumes wrongly, or not at all: one clear error, and no chunk twice."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from headwater import Agent, StreamInterruptedError, StreamTimeoutError, ValidationError
from headwater._call import resuming
from headwater.exceptions import ServerOverloadedError, ServerUnavailableError
from headwater.v1 import agent_pb2, agent_service_pb2
from tests.support.services.fake_agent_service import Chunks, FakeAgentService, error_info, fail, final, first

ID = "w0-1"


async def lose(context: Any) -> None:
    """End a call as a connection that is lost does."""
    await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")


def saying(*chunks: agent_pb2.StreamChunk) -> Callable[[Any, Any], Chunks]:
    """A call that says this, and then loses its connection."""

    async def reply(request: Any, context: Any) -> Chunks:
        for chunk in chunks:
            yield chunk
        if not (chunks and chunks[-1].is_final):
            await lose(context)

    return reply


@dataclass
class Resuming(FakeAgentService):
    """Answers each ResumeStream with the next of `rests`."""

    rests: list[Callable[[Any, Any], Chunks]] = field(default_factory=list)
    resumed: list[agent_service_pb2.ResumeStreamRequest] = field(default_factory=list)
    cancelled: queue.Queue[str] = field(default_factory=queue.Queue)

    async def ResumeStream(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        self.resumed.append(request)
        async for chunk in self.rests.pop(0)(request, context):
            yield chunk

    async def CancelStream(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.cancelled.put(request.stream_id)
        return agent_service_pb2.CancelStreamResponse()


def agent_at(service: FakeAgentService, **settings: Any) -> Agent:
    return Agent(model="fake-1", target=service.target, history=0, **settings)


async def read(service: FakeAgentService, **settings: Any) -> list[Any]:
    return [chunk async for chunk in agent_at(service, **settings).stream("x")]


async def test_a_server_that_cannot_resume_shows_the_lost_connection_before_the_first_chunk() -> None:
    with FakeAgentService(saying()) as service, pytest.raises(ServerUnavailableError, match="gone"):
        await read(service)


async def test_a_server_that_cannot_resume_shows_the_lost_connection_after_a_chunk() -> None:
    lost = pytest.raises(StreamInterruptedError, match=r"was lost in mid-stream: gone")
    with FakeAgentService(saying(first("a", resumable=True))) as service, lost as caught:
        await read(service)
    assert (caught.value.code, caught.value.partial_response) == (grpc.StatusCode.UNAVAILABLE, "a")


@pytest.mark.parametrize(
    ("chunk", "fault"),
    [
        (first("a", resumable=True), "chunk 1 when asked for those after chunk 1"),
        (first("b", resumable=True, sequence=2, stream_id="w0-2"), "stream w0-2 when asked to resume w0-1"),
    ],
)
async def test_a_chunk_that_does_not_follow_is_refused_and_its_own_stream_cancelled(chunk: Any, fault: str) -> None:
    with Resuming(saying(first("a", resumable=True)), rests=[saying(chunk)]) as service:
        with pytest.raises(StreamInterruptedError, match=f"the server sent {fault}") as caught:
            await read(service)
        assert caught.value.partial_response == "a"
        assert await asyncio.to_thread(service.cancelled.get, timeout=10) == ID


async def test_a_reply_without_numbers_is_not_resumed() -> None:
    with Resuming(saying(first("a", resumable=True, sequence=0))) as service:
        with pytest.raises(StreamInterruptedError, match="gone"):
            await read(service)
        assert service.resumed == []


async def test_only_a_connection_that_gave_a_chunk_counts_as_a_resume() -> None:
    last = final(sequence=2, stream_id=ID, resumable=True)
    with Resuming(saying(first("a", resumable=True)), rests=[saying(), saying(), saying(last)]) as service:
        chunks = await read(service)
    assert chunks[-1].metadata["resumes"] == 1


async def test_a_server_that_loses_each_connection_after_one_chunk_is_asked_ever_more_slowly() -> None:
    rests = [saying(first("b", resumable=True, sequence=n)) for n in range(2, 6)]
    last = saying(final(sequence=6, stream_id=ID, resumable=True))
    began = asyncio.get_running_loop().time()
    with Resuming(saying(first("a", resumable=True)), rests=[*rests, last]) as service:
        chunks = await read(service)
    assert chunks[-1].metadata["resumes"] == 5
    assert asyncio.get_running_loop().time() - began > (0.05 + 0.1 + 0.2 + 0.4) / 2


async def test_a_later_round_that_the_server_refuses_is_an_error_also_after_a_resume() -> None:
    def look_up(word: str) -> str:
        """Look a word up."""
        return word

    call = agent_pb2.ToolCall(id="1", name="look_up", arguments_json='{"word": "x"}')
    reply = agent_pb2.ChatMessage(role=agent_pb2.ROLE_ASSISTANT, parts=[agent_pb2.Part(tool_call=call)])
    calls = final(
        sequence=2, finish_reason=agent_pb2.FINISH_REASON_TOOL_CALLS, tool_calls=[call], message=reply, resumable=True
    )

    async def answer(request: Any, context: Any) -> Chunks:
        if request.continues_stream_id:
            await fail(context, grpc.StatusCode.INVALID_ARGUMENT, "too long", error_info("INVALID_REQUEST"))
        yield first("a", resumable=True)
        await lose(context)

    with Resuming(answer, rests=[saying(calls)]) as service:
        with pytest.raises(StreamInterruptedError, match="too long") as caught:
            async with asyncio.timeout(10):
                await read(service, tools=[look_up])
        assert isinstance(caught.value.__cause__, ValidationError)
        assert len(service.requests) == 2


def test_a_stream_that_ran_out_of_time_is_ended_in_the_server_also_when_the_loop_ends_with_it() -> None:
    async def wait(request: Any, context: Any) -> Chunks:
        yield first("a", resumable=True)
        await asyncio.Event().wait()

    with Resuming(wait) as service:

        async def main() -> None:
            with pytest.raises(StreamTimeoutError):
                async for _ in agent_at(service).stream("x", timeout=0.3):
                    pass

        asyncio.run(main())
        assert service.cancelled.get(timeout=10) == ID


def test_a_stream_that_the_client_gives_up_is_ended_in_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resuming, "RESUME_SECONDS", 0.2)
    with Resuming(saying(first("a", resumable=True)), rests=[saying()] * 20) as service:
        with pytest.raises(StreamInterruptedError, match="gone"):
            asyncio.run(read(service))
        assert service.cancelled.get(timeout=10) == ID


async def test_a_stream_that_the_server_has_ended_is_not_ended_again() -> None:
    async def cut(request: Any, context: Any) -> Chunks:
        yield first("a", resumable=True)
        await fail(context, grpc.StatusCode.ABORTED, "cut", error_info("STREAM_INTERRUPTED"))

    with Resuming(cut) as service:
        with pytest.raises(StreamInterruptedError):
            await read(service)
        with pytest.raises(StreamInterruptedError):  # by now a call of the first would have come
            await read(service)
        assert service.cancelled.empty()


@pytest.mark.parametrize("reason", ["SERVER_OVERLOADED", "CALLER_LIMITED"])
async def test_a_stream_that_is_refused_for_load_is_not_resumed(reason: str) -> None:
    async def refuse(request: Any, context: Any) -> Chunks:
        yield first("", resumable=True)  # so its id is known
        await fail(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "busy", error_info(reason))

    with Resuming(refuse) as service:
        with pytest.raises(ServerOverloadedError, match="busy"):
            await read(service)
        assert service.resumed == []


@pytest.mark.parametrize("reason", ["SERVER_OVERLOADED", "CALLER_LIMITED"])
async def test_a_server_that_is_too_busy_to_resume_is_asked_again(reason: str) -> None:
    async def refuse(request: Any, context: Any) -> Chunks:
        await fail(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "busy", error_info(reason))
        yield first("never")

    last = saying(final(sequence=2, stream_id=ID, resumable=True))
    with Resuming(saying(first("a", resumable=True)), rests=[refuse, refuse, last]) as service:
        assert (await read(service))[-1].is_final
