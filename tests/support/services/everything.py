"""Some of everything that a server can do, once each, so that each of its metrics has a series."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest

from headwater.v1 import agent_service_pb2, worker_service_pb2
from headwater.v1.agent_service_pb2_grpc import AgentServiceStub
from headwater.v1.worker_service_pb2_grpc import WorkerServiceStub
from headwater.v1.workflow_pb2 import Step, Workflow
from headwater.v1.workflow_service_pb2 import StartWorkflowRunRequest, WatchWorkflowRunRequest
from headwater.v1.workflow_service_pb2_grpc import WorkflowServiceStub
from tests.support.servers.metrics import counted

MARK = "sk-planted-0123456789"

STREAMS = 1 + 60 + 1 + 1 + 1
"""Those of `do_some_of_everything`: answered by another, of made-up models, left, resumable, and of a run."""


def question(model: str, resumable: bool = False, **scripted: object) -> agent_service_pb2.StreamRequest:
    request = agent_service_pb2.StreamRequest(prompt=f"one two {MARK}", resumable=resumable)
    request.agent.model = model
    request.agent.max_attempts = 2
    if scripted:
        request.agent.provider_options["scripted"].update(scripted)
    return request


@asynccontextmanager
async def attached_worker(channel: grpc.aio.Channel, queue: str) -> AsyncIterator[None]:
    call = WorkerServiceStub(channel).Attach()
    registration = worker_service_pb2.WorkerRegistration(worker_id="w1", queue=queue, handlers=["h"], concurrency=1)
    await call.write(worker_service_pb2.AttachRequest(registration=registration))
    await call.read()
    yield
    call.cancel()


async def start(channel: grpc.aio.Channel, *steps: Step) -> str:
    workflow = Workflow(name="w", steps=steps, agent={"model": "scripted/echo"})
    return (await WorkflowServiceStub(channel).StartWorkflowRun(StartWorkflowRunRequest(workflow=workflow))).run_id


async def do_some_of_everything(channel: grpc.aio.Channel, port: int) -> None:
    """Does it, and waits until it is counted."""
    stub = AgentServiceStub(channel)
    _ = [chunk async for chunk in stub.Stream(question("smart"))]  # openai fails, scripted answers
    for number in range(60):  # the model of a caller who makes up names
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.Stream(question(f"openai/{MARK}-{number}")).read()
    left = stub.Stream(question("scripted/echo", text="one two", hang_after=1))
    await left.read()
    left.cancel()
    chunks = [chunk async for chunk in stub.Stream(question("scripted/echo", resumable=True))]
    again = agent_service_pb2.ResumeStreamRequest(stream_id=chunks[0].stream_id)
    _ = [chunk async for chunk in stub.ResumeStream(again)]
    with pytest.raises(grpc.aio.AioRpcError):
        await stub.ResumeStream(agent_service_pb2.ResumeStreamRequest(stream_id="unknown")).read()
    run_id = await start(channel, Step(name="a", action="hi"))
    _ = [event async for event in WorkflowServiceStub(channel).WatchWorkflowRun(WatchWorkflowRunRequest(run_id=run_id))]
    await start(channel, Step(name="b", handler="h", queue="nobody"))
    await counted(port, "headwater_streams_ended_total", STREAMS)
    await counted(port, "headwater_tasks_waiting", 1, queue="nobody")
