"""The limits of streams, runs, workers and providers: a call past one is refused at once, and says when to come again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2

from headwater import Agent, ServerOverloadedError, collect_stream
from headwater.v1 import agent_service_pb2, worker_service_pb2, workflow_service_pb2
from headwater.v1.agent_service_pb2_grpc import AgentServiceStub
from headwater.v1.worker_service_pb2_grpc import WorkerServiceStub
from headwater.v1.workflow_service_pb2_grpc import WorkflowServiceStub
from tests.support.servers.server import ServerProcess

HANG = {"scripted": {"text": "Well then", "hang_after": 1}}


async def refused(call: Callable[[], object]) -> tuple[str, float, str]:
    """The limit that refuses a call, the seconds to wait, and the message; it is refused at once."""
    began = time.monotonic()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call()  # type: ignore[misc]
    assert time.monotonic() - began < 2
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    status = status_pb2.Status.FromString(dict(caught.value.trailing_metadata())["grpc-status-details-bin"])
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    status.details[0].Unpack(info)
    status.details[1].Unpack(retry)
    assert info.reason == "SERVER_OVERLOADED"
    return info.metadata["limit"], retry.retry_delay.ToTimedelta().total_seconds(), caught.value.details() or ""


def asking() -> agent_service_pb2.StreamRequest:
    request = agent_service_pb2.StreamRequest(prompt="Hi", agent={"provider": "scripted"})
    request.agent.provider_options["scripted"].update(HANG["scripted"])
    return request


@pytest.mark.parametrize("resumable", [True, False])
async def test_streams_past_their_limit_are_refused_until_one_has_ended(resumable):
    with ServerProcess("--scripted", variables={"HEADWATER_MAX_STREAMS": "3"}) as server:
        async with grpc.aio.insecure_channel(server.target) as channel:
            stub, request = AgentServiceStub(channel), asking()
            request.resumable = resumable
            calls = [stub.Stream(request) for _ in range(3)]
            firsts = [await call.read() for call in calls]
            run = agent_service_pb2.RunRequest(prompt="Hi", agent={"provider": "scripted"})
            for further in (lambda: stub.Stream(request).read(), lambda: stub.Run(run)):
                limit, seconds, message = await refused(further)
                assert (limit, seconds) == ("max_streams", 1.0)
                assert message == "3 streams run here, as many as max_streams allows; try again later, or raise it"
            await stub.CancelStream(agent_service_pb2.CancelStreamRequest(stream_id=firsts[0].stream_id))
            with pytest.raises(grpc.aio.AioRpcError):
                await calls[0].read()
            assert (await stub.Stream(request).read()).content == "Well"


async def test_runs_past_their_limit_are_refused_however_many_come_at_once():
    with ServerProcess("--scripted", variables={"HEADWATER_MAX_RUNS": "2"}) as server:
        async with grpc.aio.insecure_channel(server.target) as channel:
            stub = WorkflowServiceStub(channel)
            step = {"name": "a", "handler": "nowhere"}
            request = workflow_service_pb2.StartWorkflowRunRequest(workflow={"name": "w", "steps": [step]}, queue="q")
            found = await asyncio.gather(*(stub.StartWorkflowRun(request) for _ in range(6)), return_exceptions=True)
            assert sum(isinstance(each, grpc.aio.AioRpcError) for each in found) == 4
            limit, seconds, message = await refused(lambda: stub.StartWorkflowRun(request))
            assert (limit, seconds) == ("max_runs", 5.0)
            assert message.startswith("2 runs have not ended, as many as max_runs allows")


async def test_workers_past_their_limit_are_refused_and_one_that_comes_back_is_not():
    with ServerProcess("--scripted", variables={"HEADWATER_MAX_WORKERS": "1"}) as server:
        async with grpc.aio.insecure_channel(server.target) as channel:
            stub = WorkerServiceStub(channel)

            async def attached(worker_id: str) -> worker_service_pb2.AttachResponse:
                registration = worker_service_pb2.WorkerRegistration(
                    worker_id=worker_id, queue="q", handlers=["h"], concurrency=1
                )

                async def say() -> AsyncIterator[worker_service_pb2.AttachRequest]:
                    yield worker_service_pb2.AttachRequest(registration=registration)
                    await asyncio.Event().wait()

                call = stub.Attach(say())
                calls.append(call)
                return await call.read()

            calls: list[object] = []
            await attached("one")
            limit, seconds, message = await refused(lambda: attached("two"))
            assert (limit, seconds) == ("max_workers", 5.0)
            assert message.startswith("1 workers are attached, as many as max_workers allows")
            await attached("one")
            for call in calls:
                call.cancel()  # type: ignore[attr-defined]


def configured(tmp_path, settings: str) -> ServerProcess:
    file = tmp_path / "headwater.toml"
    file.write_text(f"[providers.scripted]\nenabled = true\n{settings}\n")
    return ServerProcess("--config", str(file))


@pytest.mark.parametrize(
    ("settings", "limit", "seconds"),
    [
        ("max_concurrent = 1", "max_concurrent", 1.0),
        ("requests_per_minute = 1", "requests_per_minute", 60.0),
        ("tokens_per_minute = 1", "tokens_per_minute", 60.0),
    ],
)
async def test_a_call_past_a_limit_of_its_provider_is_refused_before_the_provider_is_asked(
    tmp_path, settings, limit, seconds
):
    with configured(tmp_path, settings) as server:
        async with grpc.aio.insecure_channel(server.target) as channel:
            stub = AgentServiceStub(channel)
            call = stub.Stream(asking())
            await call.read()
            found, wait, message = await refused(lambda: stub.Stream(asking()).read())
            assert found == limit
            assert wait == pytest.approx(seconds, abs=10)
            assert message.startswith(f"providers.scripted.{limit} is reached (1)")
            call.cancel()


async def test_the_python_client_asks_once_for_a_stream_that_is_past_a_limit_of_its_provider(tmp_path):
    """The server has ended such a stream: to ask for the rest of it, as after a lost connection, is of no use."""
    with configured(tmp_path, "max_concurrent = 1") as server:
        agent = Agent(provider="scripted", target=server.target, history=0)
        first = agent.stream("Hi", provider_options=HANG)
        await anext(first)
        with pytest.raises(ServerOverloadedError, match="max_concurrent is reached"):
            async with asyncio.timeout(5):
                await collect_stream(agent.stream("Hi"))
        await first.aclose()
    assert "ResumeStream" not in [event.get("rpc") for event in server.events]


async def test_a_call_past_a_limit_may_wait_a_moment_and_the_python_client_says_when_to_come_again(tmp_path):
    with configured(tmp_path, "max_concurrent = 1\nmax_wait_seconds = 20.0") as server:
        agent = Agent(provider="scripted", target=server.target)
        first = agent.stream("Hi", history=0, provider_options=HANG)
        await anext(first)
        second = asyncio.create_task(agent.arun("Hi", history=0, model="echo"))
        await asyncio.sleep(0.1)
        assert not second.done()
        await first.aclose()
        assert (await second).content == "Hi"
    with configured(tmp_path, "requests_per_minute = 1") as server:
        agent = Agent(provider="scripted", model="echo", target=server.target)
        await agent.arun("Hi")
        with pytest.raises(ServerOverloadedError, match=r"requests_per_minute is reached \(1\)") as caught:
            await agent.arun("Hi", timeout=20)
        assert caught.value.retry_after == pytest.approx(60, abs=10)
