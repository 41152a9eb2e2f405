"""The spans of runs, steps and handlers, over processes and restarts."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from headwater.v1 import (
    agent_pb2,
    agent_service_pb2,
    agent_service_pb2_grpc,
    workflow_pb2,
    workflow_service_pb2,
    workflow_service_pb2_grpc,
)
from tests.support.servers.processes import channel_to
from tests.support.servers.server import ServerProcess, clean_environment
from tests.support.traces.collector import QUICK, Collector, Span

START = "headwater.v1.WorkflowService/StartWorkflowRun"
EXECUTE = "headwater.v1.WorkflowService/ExecuteWorkflow"
STREAM = "headwater.v1.AgentService/Stream"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
HEADERS = (("traceparent", f"00-{TRACE}-{PARENT}-01"), ("tracestate", "vendor=abc"))


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


@asynccontextmanager
async def worker(target: str, collector: Collector) -> AsyncIterator[None]:
    """A worker in another process, which makes spans too."""
    environment = clean_environment(HEADWATER_TARGET=target, COLLECTOR=collector.url, **QUICK)
    program = Path(__file__).with_name("program.py")
    process = await asyncio.create_subprocess_exec(
        sys.executable, program, "worker", env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"ready\n"
        yield
    finally:
        process.terminate()
        await process.wait()


def workflow(*steps: workflow_pb2.Step) -> workflow_service_pb2.StartWorkflowRunRequest:
    definition = workflow_pb2.Workflow(name="report", steps=steps, agent=agent_pb2.AgentConfig(model="scripted/echo"))
    return workflow_service_pb2.StartWorkflowRunRequest(workflow=definition, queue="traced")


async def execute(target: str, *steps: workflow_pb2.Step) -> list[workflow_pb2.WorkflowEvent]:
    async with grpc.aio.insecure_channel(target) as channel:
        stub = workflow_service_pb2_grpc.WorkflowServiceStub(channel)
        request = workflow_service_pb2.ExecuteWorkflowRequest(start=workflow(*steps))
        return [event async for event in stub.ExecuteWorkflow(request, metadata=HEADERS)]


def path(span: Span, collector: Collector) -> list[str]:
    """The names from a span up to the first one that did not arrive."""
    by_id = {span.id: span for span in collector.spans}
    names = [span.name]
    while span.parent in by_id:
        span = by_id[span.parent]
        names.append(span.name)
    assert span.parent == PARENT
    return names


@pytest.mark.parametrize("processes", [1, 2])
async def test_a_run_its_steps_the_handler_elsewhere_and_what_it_asks_are_one_trace(collector, processes):
    prompt = workflow_pb2.Step(name="draft", action="Write")
    handled = workflow_pb2.Step(name="look", handler="lookup", depends_on=["draft"])
    other = workflow_pb2.Step(name="ask", handler="asynchronous", depends_on=["draft"])
    with ServerProcess("--scripted", variables=collector.variables, processes=processes) as server:
        async with worker(server.target, collector):
            await execute(server.target, prompt, handled, other)
            names = ("step draft", "step look", "step ask", "task lookup", "task asynchronous", "inner")
            await collector.arrived(EXECUTE, "invoke_workflow report", *names)
        server.stop()
    assert {span.trace for span in collector.spans} == {TRACE}
    spans = {span.name: span for span in collector.spans if span.name != EXECUTE}
    run = ["invoke_workflow report", EXECUTE]
    if len(collector.named(EXECUTE)) == 2:  # the call came to the process that does not own the runs
        run.append(EXECUTE)
    assert path(spans["step draft"], collector) == ["step draft", *run]
    assert path(spans["task lookup"], collector) == ["task lookup", "step look", *run]
    below_inner = ["inner", "task lookup", "step look", *run]
    below_task = ["task asynchronous", "step ask", *run]
    asked = sorted(path(span, collector) for span in collector.named("chat echo"))
    first = ["chat echo", STREAM]
    ways = [[name for name in way if name != STREAM] for way in asked]
    assert sorted(ways) == sorted(
        [["chat echo", *below_inner], ["chat echo", *below_task], ["chat echo", "step draft", *run]]
    )
    assert sum(way[:2] == first for way in asked) == 2
    assert (spans["step look"].kind, spans["task lookup"].kind) == ("PRODUCER", "CONSUMER")
    assert (
        spans["invoke_workflow report"].attributes.items()
        >= {
            "gen_ai.operation.name": "invoke_workflow",
            "gen_ai.agent.name": "report",
            "headwater.outcome": "completed",
        }.items()
    )
    ids = {spans[name].attributes["headwater.run.id"] for name in ("step look", "task lookup", run[0])}
    assert len(ids) == 1


async def test_a_step_that_fails_has_a_span_for_each_attempt_and_no_words_of_the_failure(collector):
    policy = workflow_pb2.RetryPolicy(max_attempts=2)
    policy.initial_delay.FromMilliseconds(10)
    step = workflow_pb2.Step(name="look", handler="failing", retry_policy=policy)
    with ServerProcess("--scripted", variables=collector.variables) as server:
        async with worker(server.target, collector):
            await execute(server.target, step)
            spans = await collector.arrived(EXECUTE, "invoke_workflow report", "task failing")
        server.stop()
    attempts = sorted(collector.named("step look"), key=lambda span: span.attributes["headwater.step.attempt"])
    assert [span.attributes["headwater.step.attempt"] for span in attempts] == [1, 2]
    assert {(span.status, span.attributes["error.type"]) for span in attempts} == {("ERROR", "STEP_FAILED")}
    tasks = collector.named("task failing")
    assert {(span.status, span.attributes["error.type"]) for span in tasks} == {("ERROR", "STEP_FAILED")}
    assert {span.parent for span in tasks} == {span.id for span in attempts}
    run = spans["invoke_workflow report"]
    assert (run.status, run.attributes["headwater.outcome"]) == ("ERROR", "failed")
    assert b"planted" not in b"".join(collector.bodies)


async def test_a_step_after_a_restart_continues_the_trace_of_the_start(collector, tmp_path):
    variables = collector.variables | {"HEADWATER_DATA_DIR": str(tmp_path), "HEADWATER_DRAIN_SECONDS": "0"}
    step = workflow_pb2.Step(name="look", handler="lookup")
    with ServerProcess("--scripted", variables=variables) as server:
        async with grpc.aio.insecure_channel(server.target) as channel:
            stub = workflow_service_pb2_grpc.WorkflowServiceStub(channel)
            await stub.StartWorkflowRun(workflow(step), metadata=HEADERS)
        await collector.arrived(START)
        server.stop()
    (before,) = collector.named("invoke_workflow report")
    assert (before.status, before.attributes["headwater.outcome"]) == ("UNSET", "running")
    with ServerProcess("--scripted", variables=variables) as server:
        async with worker(server.target, collector):
            await collector.arrived("task lookup", "inner", STREAM)
            async with asyncio.timeout(10):
                while len(collector.named("invoke_workflow report")) < 2:
                    await asyncio.sleep(0.05)
        server.stop()
    assert {span.trace for span in collector.spans} == {TRACE}
    (task,) = collector.named("task lookup")
    assert path(task, collector) == ["task lookup", "step look", "invoke_workflow report", START]
    assert task.state == "vendor=abc"
    step_again = next(span for span in collector.named("step look") if span.id == task.parent)
    assert step_again.events == ["headwater.waiting_for_worker", "headwater.running"]


async def test_a_call_that_another_process_answers_is_one_trace_with_one_root(collector):
    cancel = "headwater.v1.AgentService/CancelStream"
    with ServerProcess("--scripted", variables=collector.variables, processes=2) as server:
        async with channel_to(server.target, 0) as owner, channel_to(server.target, 1) as other:
            agent = agent_pb2.AgentConfig(model="scripted/story")
            request = agent_service_pb2.StreamRequest(prompt="x", agent=agent)
            stream = agent_service_pb2_grpc.AgentServiceStub(owner).Stream(request)
            stream_id = (await stream.read()).stream_id
            await agent_service_pb2_grpc.AgentServiceStub(other).CancelStream(
                agent_service_pb2.CancelStreamRequest(stream_id=stream_id), metadata=HEADERS
            )
            await workflow_service_pb2_grpc.WorkflowServiceStub(other).StartWorkflowRun(
                workflow(workflow_pb2.Step(name="draft", action="Write")), metadata=HEADERS
            )
            await collector.arrived(cancel, "chat echo", "invoke_workflow report")
        server.stop()
    for name in (cancel, START):
        calls = [span for span in collector.named(name) if span.trace == TRACE]
        (root,) = (span for span in calls if span.parent == PARENT)
        (below,) = (span for span in calls if span.parent != PARENT)
        assert below.parent == root.id
        assert below.resource["service.instance.id"] != root.resource["service.instance.id"]
    steps = [span for span in collector.named("chat echo") if span.trace == TRACE]
    assert [path(span, collector) for span in steps] == [
        ["chat echo", "step draft", "invoke_workflow report", START, START]
    ]
