"""One service of two processes: calls to either, through a connection that came to one of them."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import ParseDict

from headwater.v1 import agent_pb2, agent_service_pb2, worker_service_pb2, workflow_pb2, workflow_service_pb2
from headwater.v1.agent_service_pb2_grpc import AgentServiceStub
from headwater.v1.worker_service_pb2_grpc import WorkerServiceStub
from headwater.v1.workflow_service_pb2_grpc import WorkflowServiceStub
from headwater.workflow import WorkflowAgent
from tests.support.servers.processes import channel_to, connect_client, index_of, pid_of
from tests.support.servers.server import ServerProcess
from tests.support.stubs.stub import details

PB = agent_service_pb2


@dataclass
class Stubs:
    """The stubs of a caller whose connection came to one process."""

    agents: Any
    workflows: Any
    workers: Any


@asynccontextmanager
async def connected(target: str, index: int) -> AsyncIterator[Stubs]:
    async with channel_to(target, index) as channel:
        yield Stubs(AgentServiceStub(channel), WorkflowServiceStub(channel), WorkerServiceStub(channel))


@asynccontextmanager
async def both(target: str) -> AsyncIterator[tuple[Stubs, Stubs]]:
    async with connected(target, 0) as zero, connected(target, 1) as one:
        yield zero, one


async def soon(work: Any) -> Any:
    return await asyncio.wait_for(work, 10)


def two_words(**scripted: Any) -> PB.StreamRequest:
    request = PB.StreamRequest(agent=agent_pb2.AgentConfig(model="scripted/echo"), prompt="one two")
    request.agent.provider_options["scripted"].update(scripted)
    return request


def run_of(*steps: dict[str, Any], **options: Any) -> workflow_service_pb2.StartWorkflowRunRequest:
    agent = {"model": "scripted/echo", "provider_options": {"scripted": options}}
    workflow = ParseDict({"name": "test", "agent": agent, "steps": list(steps)}, workflow_pb2.Workflow())
    return workflow_service_pb2.StartWorkflowRunRequest(workflow=workflow, queue="q")


async def watched(stub: Any, run_id: str) -> tuple[list[int], str]:
    """The events that a watcher sees, by number, and how the watch ends: "OK" or the reason of its error."""
    seen: list[int] = []
    try:
        async for event in stub.WatchWorkflowRun(workflow_service_pb2.WatchWorkflowRunRequest(run_id=run_id)):
            seen.append(event.sequence)
    except grpc.aio.AioRpcError as error:
        info: Any = details(error)["ErrorInfo"]
        return seen, str(info.reason)
    return seen, "OK"


async def until_events(stub: Any, run_id: str, count: int) -> None:
    """Waits until a run has told so many events."""
    watch = stub.WatchWorkflowRun(workflow_service_pb2.WatchWorkflowRunRequest(run_id=run_id))
    for _ in range(count):
        await soon(watch.read())
    watch.cancel()


class TwoProcesses(ServerProcess):
    """A server of two processes."""

    def __init__(self, **variables: str) -> None:
        super().__init__("--scripted", variables=variables, processes=2)


@pytest.mark.parametrize(("owner", "asked"), [(0, 1), (1, 0)])
async def test_a_stream_is_listed_and_cancelled_through_the_other_process(owner, asked):
    with TwoProcesses() as server:
        async with both(server.target) as stubs:
            stream = stubs[owner].agents.Stream(two_words(hang_after=1))
            stream_id = (await soon(stream.read())).stream_id
            assert index_of(stream_id) == owner
            answer = await soon(stubs[asked].agents.ListStreams(PB.ListStreamsRequest()))
            assert [each.stream_id for each in answer.streams] == [stream_id]
            await soon(stubs[asked].agents.CancelStream(PB.CancelStreamRequest(stream_id=stream_id)))
            with pytest.raises(grpc.aio.AioRpcError, match="ended by CancelStream") as caught:
                await soon(stream.read())
            assert caught.value.code() is grpc.StatusCode.CANCELLED


@pytest.mark.parametrize(("owner", "asked"), [(0, 1), (1, 0)])
async def test_a_kept_stream_is_listed_and_resumed_through_the_other_process(owner, asked):
    with TwoProcesses() as server:
        async with both(server.target) as stubs:
            question = two_words()
            question.resumable = True
            chunks = [chunk async for chunk in stubs[owner].agents.Stream(question)]
            assert index_of(chunks[0].stream_id) == owner
            answer = await soon(stubs[asked].agents.ListStreams(PB.ListStreamsRequest(show_ended=True)))
            (kept,) = answer.streams
            assert (kept.stream_id, kept.state) == (chunks[0].stream_id, PB.STREAM_STATE_ENDED)
            assert (kept.resumable, kept.last_sequence) == (True, chunks[-1].sequence)
            assert not (await soon(stubs[asked].agents.ListStreams(PB.ListStreamsRequest()))).streams
            request = PB.ResumeStreamRequest(stream_id=kept.stream_id, after_sequence=1)
            rest = [chunk.content async for chunk in stubs[asked].agents.ResumeStream(request)]
            assert "".join(rest) == " two"


async def test_a_stream_whose_process_hangs_for_a_moment_is_said_to_continue():
    with TwoProcesses() as server:
        async with both(server.target) as (zero, one):
            request = two_words(delay_ms=100)
            request.resumable = True
            first = await soon(one.agents.Stream(request).read())
            owner = await pid_of(server, 1)
            os.kill(owner, signal.SIGSTOP)
            resume = PB.ResumeStreamRequest(stream_id=first.stream_id, after_sequence=first.sequence)
            rest: list[agent_pb2.StreamChunk] = []
            refusals = 0
            while not rest:
                try:
                    rest = [chunk async for chunk in zero.agents.ResumeStream(resume)]
                except grpc.aio.AioRpcError as error:
                    info: Any = details(error)["ErrorInfo"]
                    assert (info.reason, info.metadata["detached"]) == ("SERVER_DRAINING", "true")
                    os.kill(owner, signal.SIGCONT)
                    refusals += 1
    assert refusals
    assert first.content + "".join(chunk.content for chunk in rest) == "one two"


async def test_the_next_round_of_a_stream_goes_on_through_the_other_process():
    with TwoProcesses() as server:
        async with both(server.target) as (zero, one):
            first = [chunk async for chunk in zero.agents.Stream(two_words())]
            request = two_words()
            request.continues_stream_id = first[0].stream_id
            request.continues_sequence = first[-1].sequence
            second = [chunk async for chunk in one.agents.Stream(request)]
    assert second[0].stream_id == first[0].stream_id
    assert second[-1].sequence == 2 * first[-1].sequence
    assert "".join(chunk.content for chunk in second) == "one two"


async def test_a_workflow_with_a_handler_of_the_callers_runs_through_the_process_without_runs():
    with TwoProcesses() as server:
        await connect_client(server.target, 1)
        agent = WorkflowAgent(model="scripted/echo", target=server.target)
        agent.register_handler("count", lambda agent, step, context: len(context["ask_result"].split()))
        workflow = agent.create_workflow("test")
        workflow.add_step("ask", action="one two")
        workflow.add_step("count", handler="count", depends_on=["ask"])
        result = await agent.execute_workflow(workflow)
    assert result.get_step_result("count").result == 2


async def test_a_worker_of_one_process_does_the_task_of_a_run_of_the_other_while_both_drain():
    with TwoProcesses() as server:
        async with both(server.target) as (zero, one):
            worker = one.workers.Attach()
            registration = worker_service_pb2.WorkerRegistration(worker_id="w", queue="q", handlers=["double"])
            await worker.write(worker_service_pb2.AttachRequest(registration=registration))
            assert (await soon(worker.read())).WhichOneof("kind") == "registered"
            request = run_of({"name": "a", "handler": "double"})
            run_id = (await soon(zero.workflows.StartWorkflowRun(request))).run_id
            task = (await soon(worker.read())).task
            watchers = [asyncio.create_task(watched(stubs.workflows, run_id)) for stubs in (zero, one)]
            await until_events(one.workflows, run_id, 2)
            server.process.send_signal(signal.SIGTERM)
            while server.log.count('"draining"') < 2:
                await asyncio.sleep(0.01)
            result = worker_service_pb2.TaskResult(task_id=task.task_id, result_json="4")
            await worker.write(worker_service_pb2.AttachRequest(result=result))
            assert (await soon(worker.read())).ack.accepted
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await soon(worker.read())
            assert details(caught.value)["ErrorInfo"].reason == "SERVER_DRAINING"  # type: ignore[attr-defined]
            told = [await soon(watcher) for watcher in watchers]
        assert await asyncio.to_thread(server.process.wait, 10) == 0
    assert told[0] == told[1]
    assert told[1][1] == "OK"


@pytest.mark.parametrize("signals", [1, 2])
async def test_the_owner_of_a_run_that_outlasts_the_draining_tells_those_who_watch_through_the_other(signals):
    limit = "0.3" if signals == 1 else "600"
    with TwoProcesses(HEADWATER_DRAIN_SECONDS=limit) as server:
        async with both(server.target) as (zero, one):
            request = run_of({"name": "a", "action": "one two"}, hang_after=1)
            run_id = (await soon(one.workflows.StartWorkflowRun(request))).run_id
            await until_events(one.workflows, run_id, 3)
            watchers = [asyncio.create_task(watched(stubs.workflows, run_id)) for stubs in (zero, one)]
            await until_events(one.workflows, run_id, 3)
            for count in range(signals):
                while count and server.log.count('"draining"') < 2:
                    await asyncio.sleep(0.01)
                server.process.send_signal(signal.SIGTERM)
            told = [await soon(watcher) for watcher in watchers]
    assert told[0] == told[1]
    assert told[1][1] == "SERVER_DRAINING"


async def test_many_calls_of_all_kinds_through_both_processes_leave_nothing_behind():
    async def one_caller(target: str, number: int) -> None:
        async with connected(target, number % 2) as stubs:
            for _ in range(5):
                stream = stubs.agents.Stream(two_words(hang_after=1))
                stream_id = (await soon(stream.read())).stream_id
                answer = await soon(stubs.agents.ListStreams(PB.ListStreamsRequest(page_size=1000)))
                assert stream_id in [each.stream_id for each in answer.streams]
                run = run_of({"name": "a", "action": "one two"})
                request = workflow_service_pb2.ExecuteWorkflowRequest(start=run)
                events = [event async for event in stubs.workflows.ExecuteWorkflow(request)]
                assert events[-1].run_finished.status == workflow_pb2.WORKFLOW_RUN_STATUS_COMPLETED
                leaving = stubs.workflows.ExecuteWorkflow(request)
                await soon(leaving.read())
                leaving.cancel()
                stream.cancel()

    with TwoProcesses() as server:
        await asyncio.gather(*(one_caller(server.target, number) for number in range(8)))
        async with connected(server.target, 1) as stubs:
            async with asyncio.timeout(10):
                while (await stubs.agents.ListStreams(PB.ListStreamsRequest())).streams:
                    await asyncio.sleep(0.01)
        server.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(server.process.wait, 10) == 0
    assert [event["relayed"] for event in server.events if event["event"] == "draining"] == [0, 0]
