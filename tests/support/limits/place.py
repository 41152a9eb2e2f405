"""A server whose limits are tried, and calls that say how they ended: "" or the reason of their error."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import count
from types import TracebackType
from typing import Any, Self

import grpc

from headwater.v1 import RunRequest, StreamRequest
from headwater.v1.agent_pb2 import AgentConfig
from headwater.v1.agent_service_pb2_grpc import AgentServiceStub
from headwater.v1.error_pb2 import ErrorReason
from headwater.v1.worker_service_pb2 import AttachRequest, TaskResult, WorkerRegistration
from headwater.v1.worker_service_pb2_grpc import WorkerServiceStub
from headwater.v1.workflow_pb2 import Step, Workflow
from headwater.v1.workflow_service_pb2 import (
    GetWorkflowRunRequest,
    ListWorkflowRunsRequest,
    StartWorkflowRunRequest,
    WatchWorkflowRunRequest,
)
from headwater.v1.workflow_service_pb2_grpc import WorkflowServiceStub
from tests.support.stubs.stub import details

OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
)
SECONDS = 60.0

Metadata = Sequence[tuple[str, str]]


class Place:
    """Channels to a server, from `async with` to the end of its block."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._stack = AsyncExitStack()
        self._names = count()

    async def __aenter__(self) -> Self:
        channel = await self._stack.enter_async_context(grpc.aio.insecure_channel(self._target, options=OPTIONS))
        self._agents, self._workflows, self._workers = (
            AgentServiceStub(channel), WorkflowServiceStub(channel), WorkerServiceStub(channel)
        )  # fmt: skip
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def run(self, request: RunRequest, metadata: Metadata = ()) -> str:
        """Asks for a whole reply."""
        return await _ending(self._agents.Run(request, metadata=tuple(metadata), timeout=SECONDS))

    async def stream(self, request: StreamRequest) -> str:
        """Asks for a reply by chunks."""
        return await _ending(_all(self._agents.Stream(request, timeout=SECONDS)))

    async def start(self, workflow: Workflow, **fields: Any) -> str:
        """Starts a run, which is not waited for."""
        return await _ending(self._workflows.StartWorkflowRun(StartWorkflowRunRequest(workflow=workflow, **fields)))

    async def list_runs(self, **fields: Any) -> str:
        """Asks for a page of runs."""
        return await _ending(self._workflows.ListWorkflowRuns(ListWorkflowRunsRequest(**fields)))

    async def get(self, run_id: str) -> str:
        """Asks for a run."""
        return await _ending(self._workflows.GetWorkflowRun(GetWorkflowRunRequest(run_id=run_id)))

    async def say(self, *messages: AttachRequest) -> str:
        """Attaches a worker that says this and leaves."""
        return await _ending(asyncio.to_thread(self._say, messages))

    def _say(self, messages: Sequence[AttachRequest]) -> None:
        """Not with grpc.aio: a call of it that is ended while it writes may never say so."""
        with grpc.insecure_channel(self._target, options=OPTIONS) as channel:
            for _ in WorkerServiceStub(channel).Attach(iter(messages), timeout=SECONDS):
                pass

    async def run_step(self, answer: TaskResult | None = None, **fields: Any) -> str:
        """Runs a workflow of one step whose worker answers so; the reason of the step's failure.

        Args:
            answer: that of the worker; None for a step without one.
            fields: of the step.
        """
        queue = f"q{next(self._names)}"
        step = Step(
            name="a",
            retry_policy={"max_attempts": 1},
            **(fields if answer is None else {"handler": "h", "queue": queue}),
        )
        working = asyncio.create_task(self._work(queue, answer)) if answer is not None else None
        workflow = Workflow(name="w", steps=[step], agent={"model": "scripted/echo"})
        run_id = (await self._workflows.StartWorkflowRun(StartWorkflowRunRequest(workflow=workflow))).run_id
        await _all(self._workflows.WatchWorkflowRun(WatchWorkflowRunRequest(run_id=run_id), timeout=SECONDS))
        if working is not None:
            working.cancel()
            await asyncio.wait([working])
        run = (await self._workflows.GetWorkflowRun(GetWorkflowRunRequest(run_id=run_id))).run
        failure = run.steps[0].failure
        return ErrorReason.Name(failure.reason).removeprefix("ERROR_REASON_") if failure.reason else ""

    async def _work(self, queue: str, answer: TaskResult) -> None:
        call = self._workers.Attach(timeout=SECONDS)
        registration = WorkerRegistration(worker_id=queue, queue=queue, handlers=["h"], concurrency=1)
        await call.write(AttachRequest(registration=registration))
        async for said in call:
            if said.WhichOneof("kind") == "task":
                result = TaskResult(task_id=said.task.task_id)
                result.MergeFrom(answer)
                await call.write(AttachRequest(result=result))


async def _all(call: Any) -> None:
    async for _ in call:
        pass


async def _ending(call: Awaitable[Any]) -> str:
    try:
        await call
    except grpc.RpcError as error:
        info: Any = details(error).get("ErrorInfo")
        return info.reason if info is not None else error.code().name
    return ""


Call = Callable[[Place], Awaitable[str]]


@dataclass(frozen=True)
class Limit:
    """A row of the page, and the calls that show it.

    Attributes:
        row: the first cell of the row.
        most: the second, as it is written.
        beyond: how a call past the limit ends: a reason, or a code where there are no details.
        at: a call at the limit.
        over: a call past it.
        fine: how the call at the limit ends.
    """

    row: str
    most: str
    beyond: str
    at: Call
    over: Call
    fine: str = ""


def number(value: float) -> str:
    """A number as the page writes it."""
    return f"{value:,}"


def agent(**fields: Any) -> AgentConfig:
    """An agent whose replies are short."""
    config = AgentConfig(**{"model": "scripted/echo", **fields})
    config.provider_options["scripted"].update({"text": "x"})
    return config


def asking(**fields: Any) -> Call:
    """A call of Run with these fields of the agent."""
    return lambda place: place.run(RunRequest(prompt="Hi", agent=agent(**fields)))


def sending(**fields: Any) -> Call:
    """A call of Run with these fields of the request."""
    return lambda place: place.run(RunRequest(**{"agent": agent(), **fields}))
