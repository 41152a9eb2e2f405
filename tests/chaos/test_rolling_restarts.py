"""Servers that are replaced under load: two behind one target, one of them always there, and no call fails."""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc
import pytest

from headwater import Agent
from headwater._grpc.server import Server
from headwater._workflow import service
from headwater.v1 import AgentServiceStub, RunRequest, StreamRequest, WorkflowServiceStub
from headwater.v1.workflow_pb2 import Step, Workflow
from headwater.v1.workflow_service_pb2 import ListWorkflowRunsRequest, StartWorkflowRunRequest
from tests.support.servers.rolling import Call, TwoServers, roll

PAGE = Path(__file__).parents[2] / "docs" / "clients.md"
SERVICE_CONFIGS = re.findall(r"^```json\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
"""Those that the page recommends for stubs: one repeats calls, the other watches the health."""
TIMES = 2
"""How many callers of each kind call at the same time."""

WORKFLOW = Workflow(name="w", steps=[Step(name="ask", action="x", agent={"model": "scripted/echo"})])


def client_calls(target: str) -> list[Call]:
    """The calls of the Python client: streams, replies and those about runs."""
    agent, server = Agent(model="scripted/echo", target=target, history=0), Server(target)

    async def stream() -> None:
        assert "".join([chunk.content async for chunk in agent.stream("a b c")]) == "a b c"

    async def run() -> None:
        assert (await agent.arun("a b c")).content == "a b c"

    async def validate() -> None:
        assert not (await service.validate(server, WORKFLOW, "")).violations

    async def start() -> None:
        request = StartWorkflowRunRequest(workflow=WORKFLOW, request_id=uuid.uuid4().hex)
        assert await service.start_run(server, request)

    async def list_runs() -> None:
        await service.list_runs(server, ListWorkflowRunsRequest(page_size=1))

    return [stream, run, validate, start, list_runs]


@asynccontextmanager
async def stub_calls(target: str, service_config: str) -> AsyncIterator[list[Call]]:
    """The calls of bare stubs over a channel with this service config."""
    options = (
        ("grpc.service_config", service_config),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 100),
    )
    async with grpc.aio.insecure_channel(target, options=options) as channel:
        agents, workflows = AgentServiceStub(channel), WorkflowServiceStub(channel)

        async def stream() -> None:
            chunks = agents.Stream(StreamRequest(prompt="a b c", agent={"model": "scripted/echo"}))
            assert "".join([chunk.content async for chunk in chunks]) == "a b c"

        async def run() -> None:
            reply = await agents.Run(RunRequest(prompt="a b c", agent={"model": "scripted/echo"}))
            assert reply.content == "a b c"

        async def list_runs() -> None:
            await workflows.ListWorkflowRuns(ListWorkflowRunsRequest(page_size=1))

        yield [stream, run, list_runs]


async def check(rounds: int, processes: int, *, named: bool = False) -> None:
    with TwoServers(processes, named=named) as servers:
        async with AsyncExitStack() as stack:
            calls = client_calls(servers.target)
            for config in SERVICE_CONFIGS:
                calls += await stack.enter_async_context(stub_calls(servers.target, config))
            figures = await roll(servers, calls * TIMES, rounds, spreading=len(SERVICE_CONFIGS))
    print(f"{rounds} rounds, {processes} processes, {servers.target}: {figures}")
    assert not figures.failures


@pytest.mark.parametrize(("rounds", "processes"), [(1, 1), (1, 2)])
async def test_no_call_fails_when_servers_are_replaced(rounds, processes):
    assert len(SERVICE_CONFIGS) == 2
    await check(rounds, processes)


@pytest.mark.chaos
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("processes", "named"), [(1, False), (1, True), (2, False)])
async def test_no_call_fails_in_twenty_rounds(processes, named):
    await check(20, processes, named=named)
