"""A provider that fails before the first chunk, over real connections: the caller gets one reply, and learns of it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from headwater.v1 import agent_pb2, agent_service_pb2, error_pb2, workflow_service_pb2
from tests.support.servers.server import OwnThread, ServerProcess, provider_variables
from tests.support.stubs.stub import agent_stub, details, workflow_stub
from tests.support.upstream.upstream import Answer, Upstream, always

RETRY_AFTER = 1


def event(**fields: object) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, **fields}]}).encode() + b"\n\n"


WORDS = event(delta={"content": "Hello"}), event(delta={"content": " there"})
END = event(delta={}, finish_reason="stop") + b"data: [DONE]\n\n"
ANSWERS = always("200 OK", b"".join(WORDS) + END, content_type="text/event-stream")
CUT = always("200 OK", WORDS[0], content_type="text/event-stream")
BUSY = always("503 Service Unavailable", b'{"error": {"message": "overloaded"}}', content_type="application/json")
LIMITED = always("429 Too Many Requests", b'{"error": {"message": "slow"}}', retry_after=str(RETRY_AFTER))
REFUSED = always("401 Unauthorized", b'{"error": {"message": "bad key"}}')


def in_turn(*answers: Answer) -> Answer:
    """One answer for each request, the last one for all that follow."""
    left = list(answers)

    async def answer(writer: asyncio.StreamWriter) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(writer)

    return answer


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    started = Upstream(ANSWERS)
    with OwnThread(started):
        yield started


@pytest.fixture(scope="module")
def server(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    config = tmp_path_factory.mktemp("attempts") / "headwater.toml"
    config.write_text('[models.smart]\ntargets = ["openai/gpt-4o-mini", "scripted/echo"]\n')
    settings = provider_variables(upstream.url) | {
        "HEADWATER_MAX_RETRY_WAIT_SECONDS": "60",
        "HEADWATER_COOL_DOWN_SECONDS": "0",
    }
    with ServerProcess("--scripted", "--config", str(config), variables=settings) as started:
        yield started


@pytest.fixture(autouse=True)
def forget(upstream: Upstream) -> None:
    upstream.requests.clear()


def question(resumable: bool = False, **agent: object) -> agent_service_pb2.StreamRequest:
    settings = {"model": "openai/gpt-4o", **agent}
    return agent_service_pb2.StreamRequest(agent=settings, prompt="Hi", resumable=resumable)  # type: ignore[arg-type]


def text(chunks: Sequence[agent_pb2.StreamChunk]) -> str:
    return "".join(chunk.content for chunk in chunks)


@asynccontextmanager
async def refused(server: ServerProcess, **agent: object) -> AsyncIterator[grpc.aio.AioRpcError]:
    async with agent_stub(server.target) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in stub.Stream(question(**agent)):
                pass
    yield caught.value


async def line_of(server: ServerProcess, stream_id: str) -> dict[str, Any]:
    """The line of the call in the log, which a thread writes."""
    async with asyncio.timeout(5):
        while True:
            for line in server.events:
                if line["event"] == "rpc" and line.get("stream_id") == stream_id:
                    return line
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("resumable", [False, True])
async def test_a_429_with_retry_after_costs_its_time_and_nothing_else(server, upstream, resumable):
    upstream.answer = in_turn(LIMITED, ANSWERS)
    async with agent_stub(server.target) as stub:
        began = time.monotonic()
        chunks = [chunk async for chunk in stub.Stream(question(resumable))]
        assert RETRY_AFTER <= time.monotonic() - began < RETRY_AFTER + 1
        if resumable:
            again = agent_service_pb2.ResumeStreamRequest(stream_id=chunks[0].stream_id)
            first = await anext(aiter(stub.ResumeStream(again)))
            assert first.attempts == chunks[0].attempts
    assert (text(chunks), len(upstream.requests)) == ("Hello there", 2)
    [attempt] = chunks[0].attempts
    assert attempt.failure.reason == error_pb2.ERROR_REASON_PROVIDER_RATE_LIMITED
    assert (attempt.provider, attempt.model, attempt.failure.provider.http_status) == ("openai", "gpt-4o", 429)
    assert RETRY_AFTER <= attempt.wait.ToMilliseconds() / 1000 <= RETRY_AFTER * 1.1
    assert not any(chunk.attempts for chunk in chunks[1:])


async def test_a_run_is_retried_too(server, upstream):
    upstream.answer = in_turn(BUSY, BUSY, ANSWERS)
    async with agent_stub(server.target) as stub:
        reply = await stub.Run(agent_service_pb2.RunRequest(agent={"model": "openai/gpt-4o"}, prompt="Hi"))
    assert (reply.content, len(reply.attempts), len(upstream.requests)) == ("Hello there", 2, 3)


async def test_when_all_fail_the_error_and_the_log_list_them(server, upstream):
    upstream.answer = BUSY
    async with refused(server) as error:
        found = details(error)
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert len(found["FailedAttempts"].attempts) == len(upstream.requests) == 3  # type: ignore[attr-defined]
    stream_id = found["ErrorInfo"].metadata["stream_id"]  # type: ignore[attr-defined]
    call = await line_of(server, stream_id)
    assert (call["attempts"], call["provider"], call["model"]) == (3, "openai", "gpt-4o")
    failed = [line for line in server.events if line["event"] == "attempt failed"][-2:]
    assert [(line["reason"], line["http_status"]) for line in failed] == [("PROVIDER_UNAVAILABLE", 503)] * 2


@pytest.mark.parametrize("answer", [REFUSED, CUT])
async def test_what_cannot_help_is_not_tried(server, upstream, answer):
    upstream.answer = in_turn(answer, ANSWERS)
    async with refused(server) as error:
        assert "FailedAttempts" not in details(error)
    assert len(upstream.requests) == 1


async def test_a_deadline_that_comes_before_the_retry_ends_the_call_at_once(server, upstream):
    upstream.answer = in_turn(always("429 Too Many Requests", b"{}", retry_after="30"), ANSWERS)
    began = time.monotonic()
    async with agent_stub(server.target) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Run(agent_service_pb2.RunRequest(agent=question().agent, prompt="Hi"), timeout=20)
    assert time.monotonic() - began < 5
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert details(caught.value)["RetryInfo"].retry_delay.seconds == 30  # type: ignore[attr-defined]
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("resumable", [False, True])
async def test_cancel_stream_ends_a_wait_at_once(server, upstream, resumable):
    upstream.answer = in_turn(always("429 Too Many Requests", b"{}", retry_after="30"), ANSWERS)
    async with agent_stub(server.target) as stub:
        call = stub.Stream(question(resumable))
        headers = dict(await call.initial_metadata())
        while not upstream.requests:
            await asyncio.sleep(0.001)
        began = time.monotonic()
        stream_id = str(headers["headwater-stream-id"])
        await stub.CancelStream(agent_service_pb2.CancelStreamRequest(stream_id=stream_id))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert (caught.value.code(), time.monotonic() - began < 1) == (grpc.StatusCode.CANCELLED, True)
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("attempts", [1, 2])
async def test_the_attempts_of_a_step_are_not_multiplied(server, upstream, attempts):
    upstream.answer = BUSY
    policy = {"max_attempts": attempts, "initial_delay": {"nanos": 1_000_000}}
    step = {"name": "ask", "action": "Say hi", "retry_policy": policy}
    workflow = {"name": "w", "steps": [step], "agent": {"model": "openai/gpt-4o"}}
    start = workflow_service_pb2.StartWorkflowRunRequest(workflow=workflow)  # type: ignore[arg-type]
    async with workflow_stub(server.target) as stub:
        request = workflow_service_pb2.ExecuteWorkflowRequest(start=start)
        events = [event async for event in stub.ExecuteWorkflow(request)]
    assert "step_failed" in [event.WhichOneof("event") for event in events]
    assert len(upstream.requests) == attempts


@pytest.mark.parametrize(
    "agent", [{"model": "smart"}, {"model": "openai/o4-mini", "fallback_models": ["scripted/echo"]}]
)
@pytest.mark.parametrize("resumable", [False, True])
async def test_another_model_answers_where_the_first_fails(server, upstream, agent, resumable):
    upstream.answer = REFUSED
    async with agent_stub(server.target) as stub:
        chunks = [chunk async for chunk in stub.Stream(question(resumable, **agent))]
    assert (text(chunks), chunks[0].provider, chunks[0].model) == ("Hi", "scripted", "echo")
    assert [attempt.provider for attempt in chunks[0].attempts] == ["openai"]
    assert len(upstream.requests) == 1


async def test_a_step_falls_back_within_its_attempt(server, upstream):
    upstream.answer = BUSY
    step = {"name": "ask", "action": "Say hi", "retry_policy": {"max_attempts": 1}}
    agent = {"model": "openai/gpt-4.1", "fallback_models": ["scripted/echo"]}
    start = workflow_service_pb2.StartWorkflowRunRequest(workflow={"name": "w", "steps": [step], "agent": agent})  # type: ignore[arg-type]
    async with workflow_stub(server.target) as stub:
        request = workflow_service_pb2.ExecuteWorkflowRequest(start=start)
        events = [event async for event in stub.ExecuteWorkflow(request)]
    [done] = [event for event in events if event.WhichOneof("event") == "step_completed"]
    assert (done.step_completed.reply.provider, len(upstream.requests)) == ("scripted", 1)


async def test_aliases_are_listed_with_their_models(server):
    async with agent_stub(server.target) as stub:
        listed = await stub.ListModels(agent_service_pb2.ListModelsRequest(provider="scripted"))
        assert "smart" not in [model.name for model in listed.models]
        info = await stub.GetProviderInfo(agent_service_pb2.GetProviderInfoRequest(model="smart"))
        assert (info.provider.name, info.provider.model) == ("openai", "gpt-4o-mini")
