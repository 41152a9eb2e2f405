"""Requests that would take more memory than they have bytes, or would keep it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from headwater import Agent, ServerOverloadedError
from headwater.v1 import agent_service_pb2, worker_service_pb2, workflow_service_pb2
from headwater.v1.agent_service_pb2_grpc import AgentServiceStub
from tests.support.attacks import OPTIONS, OtherCaller, memory
from tests.support.raw_streams import RawConnection
from tests.support.servers.server import FRONT, ReplayThread, ServerProcess, provider_variables

MIB = 1024 * 1024
WITHOUT_COLLECTOR = ("-c", "import gc; gc.disable(); gc.enable = gc.disable; from headwater.cli import main; main()")
AGENTS, RUNS = "/headwater.v1.AgentService/", "/headwater.v1.WorkflowService/"
ATTACH, HEALTH = "/headwater.v1.WorkerService/Attach", "/grpc.health.v1.Health/"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
LARGE = "x" * (8 * MIB)
WORKFLOW = {"name": "w", "steps": [{"name": "a", "action": "x" * 500_000}, {"name": "a"}]}

Stream, Run = agent_service_pb2.StreamRequest, agent_service_pb2.RunRequest
Start = workflow_service_pb2.StartWorkflowRunRequest

REFUSED = {
    "Stream, no such provider": ("unary_stream", AGENTS + "Stream", Stream(prompt=LARGE, agent={"provider": "no"})),
    "Stream, a bad field": ("unary_stream", AGENTS + "Stream", Stream(prompt=LARGE, messages=[{"role": 1}])),
    "Run, no such provider": ("unary_unary", AGENTS + "Run", Run(prompt=LARGE, agent={"provider": "no"})),
    "Run, no message": ("unary_unary", AGENTS + "Run", b"\xff" * len(LARGE)),
    "Validate": ("unary_unary", RUNS + "ValidateWorkflow", Start(workflow={"name": LARGE})),
    "Start": ("unary_unary", RUNS + "StartWorkflowRun", Start(workflow={"name": LARGE})),
    "Start, a bad context": ("unary_unary", RUNS + "StartWorkflowRun", Start(context_json=LARGE[: 6 * MIB])),
    "Execute": (
        "unary_stream",
        RUNS + "ExecuteWorkflow",
        workflow_service_pb2.ExecuteWorkflowRequest(start={"workflow": WORKFLOW}),
    ),
    "Watch": ("unary_stream", RUNS + "WatchWorkflowRun", workflow_service_pb2.WatchWorkflowRunRequest(run_id=LARGE)),
    "Get": ("unary_unary", RUNS + "GetWorkflowRun", workflow_service_pb2.GetWorkflowRunRequest(run_id=LARGE)),
    "Cancel": ("unary_unary", AGENTS + "CancelStream", agent_service_pb2.CancelStreamRequest(stream_id=LARGE)),
    "Attach, registration": (
        "stream_stream",
        ATTACH,
        worker_service_pb2.AttachRequest(registration={"worker_id": LARGE[: 6 * MIB]}),
    ),
    "Attach, too large": ("stream_stream", ATTACH, worker_service_pb2.AttachRequest(result={"task_id": LARGE})),
    "Health": ("unary_unary", HEALTH + "Check", health_pb2.HealthCheckRequest(service=LARGE)),
    "Health, Watch": ("unary_stream", HEALTH + "Watch", health_pb2.HealthCheckRequest(service=LARGE)),
    "reflection": (
        "stream_stream",
        REFLECTION,
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=LARGE),
    ),
}
"""Requests of all kinds of calls that the server refuses, at every place where it can."""


@pytest.fixture(scope="module")
def uncollected(replay: ReplayThread) -> Iterator[ServerProcess]:
    """A server without the garbage collector: memory that only the collector would free adds up."""
    variables = provider_variables(replay.url)
    with ServerProcess("--scripted", program=WITHOUT_COLLECTOR, variables=variables) as server:
        yield server


@pytest.fixture(scope="module")
def flooded() -> Iterator[ServerProcess]:
    with ServerProcess("--scripted") as server:
        yield server


def call(channel: grpc.Channel, kind: str, path: str, request: Any) -> grpc.StatusCode:
    """Makes a call, leaves it after its first answer, and returns how it ended."""
    raw = request if isinstance(request, bytes) else request.SerializeToString()
    method = getattr(channel, kind)(path)
    try:
        if kind == "unary_unary":
            method(raw, timeout=30)
        else:
            answers = method(iter([raw]) if kind == "stream_stream" else raw, timeout=30)
            next(answers)
            answers.cancel()
    except grpc.RpcError as error:
        code = error.code()  # type: ignore[attr-defined]
        assert isinstance(code, grpc.StatusCode)
        return code
    return grpc.StatusCode.OK


def growth(server: ServerProcess, times: int, kind: str, path: str, request: Any) -> int:
    """The MB that so many calls leave behind, after a few that fill the allocator's own store."""
    with grpc.insecure_channel(server.target, options=OPTIONS) as channel:
        for _ in range(3):
            assert call(channel, kind, path, request) is not grpc.StatusCode.INTERNAL
        before = memory(server.process.pid)
        for _ in range(times):
            call(channel, kind, path, request)
        return memory(server.process.pid) - before


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_request_leaves_the_memory_of_the_server(uncollected, name):
    assert growth(uncollected, 8, *REFUSED[name]) < 50


@pytest.mark.parametrize("model", ["openai/gpt@openai-429-retry-after", "anthropic/claude@anthropic-429-retry-after"])
def test_a_prompt_that_the_provider_refuses_leaves_the_memory_of_the_server(uncollected, model):
    request = Stream(prompt=LARGE, agent={"model": model})
    assert growth(uncollected, 8, "unary_stream", AGENTS + "Stream", request) < 50


@pytest.mark.chaos
def test_40_prompts_of_20_mb_that_the_provider_refuses_leave_the_memory_of_the_server(uncollected):
    request = Run(prompt="x" * 20_000_000, agent={"model": "openai/gpt@openai-429-retry-after"})
    assert growth(uncollected, 40, "unary_unary", AGENTS + "Run", request) < 150


def test_a_call_that_is_left_leaves_the_memory_of_the_server(uncollected):
    request = Stream(prompt=LARGE, agent={"model": "scripted/echo"})
    request.agent.provider_options["scripted"].update({"text": "one two", "hang_after": 1})
    assert growth(uncollected, 8, "unary_stream", AGENTS + "Stream", request) < 50


def inside(field: int, content: bytes) -> bytes:
    """A field that contains so many bytes."""
    size = len(content)
    return (
        bytes([field << 3 | 2, size & 127 | 128, size >> 7 & 127 | 128, size >> 14 & 127 | 128, size >> 21]) + content
    )


EMPTIES = {
    "steps": (RUNS + "StartWorkflowRun", inside(1, b"\x1a\x00" * (15 * MIB))),
    "values of a context": (RUNS + "StartWorkflowRun", inside(2, b"\x0a\x00" * (4 * MIB - 8))),
    "tools": (AGENTS + "Run", inside(1, b"\x62\x00" * (15 * MIB))),
    "labels": (AGENTS + "Run", inside(1, b"\x9a\x01\x00" * (10 * MIB))),
    "messages": (AGENTS + "Stream", b"\x1a\x00" * (15 * MIB)),
    "one text again and again": (AGENTS + "Stream", b"\x12\x00" * (15 * MIB)),
    "unknown fields": (AGENTS + "Run", b"\xfa\x01\x00" * (10 * MIB)),
    "health": (HEALTH + "Check", b"\x12\x00" * (15 * MIB)),
}
"""Requests of up to 31 MiB that would be ten to a hundred times as large when parsed."""


@pytest.mark.parametrize("name", EMPTIES)
def test_a_request_takes_little_more_memory_than_it_has_bytes(flooded, name):
    path, body = EMPTIES[name]
    with OtherCaller(flooded.target) as others, grpc.insecure_channel(flooded.target, options=OPTIONS) as channel:
        assert call(channel, "unary_unary", path, body) is grpc.StatusCode.INVALID_ARGUMENT
    assert memory(flooded.process.pid, "VmHWM") < 300
    assert others.failures == []


@pytest.mark.parametrize("path", [AGENTS + "Stream", HEALTH + "Check"])
def test_requests_that_never_end_take_no_more_than_the_budget(path):
    with ServerProcess("--scripted", variables={"HEADWATER_MAX_REQUESTS_MIB": "65"}) as server:
        before = memory(server.process.pid)
        with OtherCaller(server.target) as others, RawConnection(server.target) as attacker:
            attacker.open(path, 20)
            attacker.send_unfinished(8 * MIB, seconds=3)
            # Two may be slow at grpcio: each could have 32 MiB. lean counts what has come, 130 MiB.
            assert len(attacker.ended) == 18 if FRONT == "grpcio" else len(attacker.ended) <= 4
            assert not attacker.is_closed
        assert others.failures == []
        assert memory(server.process.pid) < before + 20 * 8 + 40


def test_calls_without_a_request_do_not_keep_large_ones_out():
    request = Run(prompt="x" * 200_000, agent={"model": "scripted/echo"})
    with (
        ServerProcess("--scripted", variables={"HEADWATER_FRONT": "lean"}) as server,
        RawConnection(server.target) as attacker,
        grpc.insecure_channel(server.target) as channel,
    ):
        attacker.open(AGENTS + "Run", 20)
        attacker.send_unfinished(MIB, seconds=2.5)
        assert len(AgentServiceStub(channel).Run(request, timeout=20).content) == 200_000


async def test_the_requests_of_running_calls_have_a_budget():
    hang = {"scripted": {"text": "one two", "hang_after": 1}}
    with ServerProcess("--scripted", variables={"HEADWATER_MAX_REQUESTS_MIB": "10"}) as server:
        agent = Agent(model="scripted/echo", target=server.target, history=0)
        first = agent.stream(LARGE, provider_options=hang)
        await anext(first)
        with pytest.raises(ServerOverloadedError, match="max_requests_mib") as caught:
            await anext(agent.stream(LARGE, provider_options=hang))
        assert (caught.value.reason, caught.value.retry_after) == ("SERVER_OVERLOADED", 1.0)
        small = [chunk.content async for chunk in agent.stream("hi")]
        assert "".join(small) == "hi"
        await first.aclose()
        await answered(agent, hang)


async def answered(agent: Agent, options: dict[str, Any]) -> None:
    """Asks with a large prompt until that is answered."""
    end = time.monotonic() + 20
    while True:
        stream = agent.stream(LARGE, provider_options=options)
        try:
            await anext(stream)
            return
        except ServerOverloadedError:
            assert time.monotonic() < end
        finally:
            await stream.aclose()


def test_large_requests_give_their_memory_back():
    request = agent_service_pb2.RunRequest(prompt="x" * 20_000_000, agent={"model": "nowhere/none"})
    with ServerProcess("--scripted") as server, grpc.insecure_channel(server.target, options=OPTIONS) as channel:
        before = memory(server.process.pid)
        for _ in range(10):
            with pytest.raises(grpc.RpcError):
                AgentServiceStub(channel).Run(request, timeout=60)
        # The allocator keeps up to 100 MB; the bytes of ten requests have 200.
        assert memory(server.process.pid) - before < 150
