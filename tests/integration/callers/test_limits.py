"""The limits of callers: each answers CALLER_LIMITED with the time to wait, in one process and in two."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest

from headwater import Agent, ServerOverloadedError
from headwater.v1 import agent_service_pb2
from headwater.v1.agent_service_pb2_grpc import AgentServiceStub
from tests.support.servers.limited import SCRIPTED, agent, served, used
from tests.support.servers.processes import pid_of
from tests.support.servers.server import run_cli
from tests.support.stubs.stub import details

PROCESSES = pytest.mark.parametrize("processes", [1, 2])


async def limited(call: Callable[[], Awaitable[object]]) -> tuple[str, float]:
    """The limit that refuses a call, and the seconds to wait."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call()
    found: dict[str, Any] = details(caught.value)
    assert (caught.value.code(), found["ErrorInfo"].reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "CALLER_LIMITED")
    assert found["ErrorInfo"].metadata["caller"] == "alice"
    return found["ErrorInfo"].metadata["limit"], found["RetryInfo"].retry_delay.ToTimedelta().total_seconds()


@PROCESSES
async def test_requests_of_a_minute_count_over_all_processes_and_for_one_caller(tmp_path, processes):
    with served(tmp_path, "[callers.alice]\nrequests_per_minute = 4\n", processes) as server:
        for i in range(4):
            assert await server.run(process=i % processes) == "Hi"
        for i in range(processes):
            limit, seconds = await limited(lambda i=i: server.run(process=i))
            assert limit == "requests_per_minute"
            assert 0 < seconds <= 15
        assert await server.run("bob") == "Hi"


@PROCESSES
async def test_tokens_of_a_minute_are_those_that_the_provider_reports(tmp_path, processes):
    with served(tmp_path, "[callers.'*']\ntokens_per_minute = 1000\n", processes) as server:
        for i in range(2):
            assert await server.run(process=i % processes, **used(1_000 * i + 500))
        limit, seconds = await limited(lambda: server.run(process=processes - 1))
        assert limit == "tokens_per_minute"
        assert 55 < seconds <= 60.1
        assert await server.run("bob") == "Hi"


@PROCESSES
@pytest.mark.parametrize("resumable", [False, True])
async def test_a_place_is_free_again_whatever_ends_its_stream(tmp_path, processes, resumable):
    with served(tmp_path, "[callers.alice]\nmax_concurrent = 1\n[server]\ndetach_seconds = 0.2\n", processes) as server:
        async with server.channel(0) as first, server.channel(processes - 1) as second:
            stubs = AgentServiceStub(first), AgentServiceStub(second)

            async def free() -> None:
                """Waits until alice has a place again: a stream ends a little after its caller has left."""
                while True:
                    try:
                        return await ask(stubs[1])
                    except grpc.aio.AioRpcError as error:
                        assert details(error)["ErrorInfo"].reason == "CALLER_LIMITED"  # type: ignore[attr-defined]
                        await asyncio.sleep(0.02)

            async def ask(stub: AgentServiceStub, **options: Any) -> None:
                request = agent_service_pb2.StreamRequest(prompt="Hi", agent=agent(**options))
                async for _ in stub.Stream(request, metadata=server.metadata()):
                    pass

            def hang() -> Any:
                request = agent_service_pb2.StreamRequest(
                    prompt="Hi", agent=agent(text="Well then", hang_after=1), resumable=resumable
                )
                return stubs[0].Stream(request, metadata=server.metadata())

            async with asyncio.timeout(20):
                call = hang()
                stream_id = (await call.read()).stream_id
                assert await limited(lambda: ask(stubs[1])) == ("max_concurrent", 1.0)
                call.cancel()
                await free()
                call = hang()
                stream_id = (await call.read()).stream_id
                cancel = agent_service_pb2.CancelStreamRequest(stream_id=stream_id)
                await stubs[1].CancelStream(cancel, metadata=server.metadata())
                await free()
                for options in ({"fail_after": 1}, {"fail_reason": "PROVIDER_REJECTED_REQUEST"}, {"text": 1}):
                    with pytest.raises(grpc.aio.AioRpcError) as caught:
                        await ask(stubs[0], **options)
                    assert details(caught.value)["ErrorInfo"].reason != "CALLER_LIMITED"  # type: ignore[attr-defined]
                    await free()
                calls = [hang() for _ in range(30)]
                await asyncio.sleep(0)
                for call in calls:
                    call.cancel()
                await free()


async def test_the_places_of_a_process_that_is_killed_come_back_with_it(tmp_path):
    with served(tmp_path, "[callers.alice]\nmax_concurrent = 1\n", 2) as server:
        async with server.channel(1) as channel:
            request = agent_service_pb2.StreamRequest(prompt="Hi", agent=agent(text="Well then", hang_after=1))
            await AgentServiceStub(channel).Stream(request, metadata=server.metadata()).read()
            assert (await limited(lambda: server.run(process=0)))[0] == "max_concurrent"
            os.kill(await pid_of(server.server, 1), signal.SIGKILL)
        await pid_of(server.server, 1, start=2)
        assert await server.run(process=0) == "Hi"


@pytest.mark.parametrize(("processes", "ending"), [(1, signal.SIGTERM), (1, signal.SIGKILL), (2, signal.SIGKILL)])
async def test_a_month_counts_over_all_processes_and_over_their_end(tmp_path, processes, ending):
    settings = "[callers.alice]\nmonthly_tokens = 1000\n"
    with served(tmp_path, settings, processes) as server:
        for i in range(2):
            assert await server.run(process=i % processes, **used(300))
        assert await server.run(**used(399))
        pids = [await pid_of(server.server, index) for index in range(processes)] if processes > 1 else []
        for pid in pids:
            os.kill(pid, ending)
        server.server.expected_code = -ending if ending is signal.SIGKILL else 0
        server.server.stop(ending)
    with served(tmp_path, settings, processes) as server:
        assert await server.run(**used(1))
        for index in range(processes):
            limit, seconds = await limited(lambda index=index: server.run(process=index))
            assert limit == "monthly_tokens"
            assert 0 < seconds <= 86_400
        assert await server.run("bob") == "Hi"
        shown = run_cli("usage", "--data-dir", str(server.data)).stdout.split()
        assert shown[1:] == ["alice", "1000", "4"]


async def test_a_reply_that_reports_nothing_or_is_left_counts_with_an_estimate(tmp_path):
    with served(tmp_path, "[callers.alice]\nmonthly_tokens = 100\n") as server:
        assert await server.run(text="a b c", usage={})
        async with server.channel() as channel:
            request = agent_service_pb2.StreamRequest(prompt="x" * 400, agent=agent(text="Well then", hang_after=1))
            call = AgentServiceStub(channel).Stream(request, metadata=server.metadata())
            await call.read()
            call.cancel()
            async with asyncio.timeout(10):
                while True:
                    try:
                        await server.run(usage={"input_tokens": 0, "output_tokens": 0})
                    except grpc.aio.AioRpcError as error:
                        assert details(error)["ErrorInfo"].metadata["limit"] == "monthly_tokens"  # type: ignore[attr-defined]
                        break


@PROCESSES
async def test_new_limits_hold_after_a_reload_and_running_streams_keep_theirs(tmp_path, processes):
    with served(tmp_path, "", processes) as server:
        async with server.channel(0) as channel:
            request = agent_service_pb2.StreamRequest(prompt="Hi", agent=agent(text="Well then", hang_after=1))
            call = AgentServiceStub(channel).Stream(request, metadata=server.metadata())
            await call.read()

            async def reload(settings: str) -> int:
                server.file.write_text(SCRIPTED + settings)
                done = await asyncio.to_thread(run_cli, "reload", "--data-dir", str(server.data))
                return done.returncode

            assert await reload("[callers.alice]\nmax_concurrent = 1\nrequests_per_minute = 1\n") == 0
            assert await server.run(process=0) == "Hi"
            assert (await limited(lambda: server.run(process=processes - 1)))[0] == "requests_per_minute"
            assert await reload("[callers.alice]\nmax_concurent = 1\n") == 78
            assert (await limited(lambda: server.run(process=processes - 1)))[0] == "requests_per_minute"
            assert await reload("[callers.bob]\nrequests_per_minute = 1\n") == 0
            assert await server.run(process=processes - 1) == "Hi"
            call.cancel()


async def test_the_python_client_says_when_to_come_again(tmp_path):
    with served(tmp_path, "[callers.alice]\nrequests_per_minute = 1\n") as server:
        client = Agent(model="scripted/echo", target=server.server.target, token=server.tokens["alice"])
        assert (await client.arun("Hi")).content == "Hi"
        with pytest.raises(ServerOverloadedError, match="requests_per_minute of alice is reached") as caught:
            async for _ in client.stream("Hi"):
                pass
        assert caught.value.reason == "CALLER_LIMITED"
        assert caught.value.retry_after is not None
        assert 0 < caught.value.retry_after <= 60
