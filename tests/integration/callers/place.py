"""A server with callers where alice has a stream and a run, and calls of its methods."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.json_format import ParseDict
from google.protobuf.message_factory import GetMessageClass

from headwater.v1 import agent_service_pb2, workflow_service_pb2
from headwater.v1.workflow_pb2 import WORKFLOW_RUN_STATUS_RUNNING
from tests.support.callers.doors import Doors, Metadata, Visitor
from tests.support.methods.calls import Ending, Method, call, methods_in

OK = (grpc.StatusCode.OK, "")
HANGS = {"model": "scripted/echo", "providerOptions": {"scripted": {"text": "one two", "hang_after": 1}}}
WAITS = {"workflow": {"name": "w", "steps": [{"name": "a", "handler": "h"}]}, "queue": "mine", "requestId": "first"}
BEGUN = {**WAITS, "requestId": "second"}

PROTOS = Path(__file__).parents[3] / "protos" / "headwater" / "v1"
FILES = [import_module(f"headwater.v1.{file.stem}_pb2") for file in sorted(PROTOS.glob("*_service.proto"))]
METHODS = methods_in(service for file in FILES for service in file.DESCRIPTOR.services_by_name.values())
"""Every method of the contract, also those that are still to come."""


def name_of(method: Method) -> str:
    return method.path.rpartition("/")[2]


def service_of(method: Method) -> str:
    return method.path.split("/")[1].rpartition(".")[2]


@dataclass(frozen=True)
class Place:
    """A server with callers, and what alice has there.

    Attributes:
        stream_id, run_id: of her stream and of her run, neither of which ends by itself.
    """

    doors: Doors
    visitor: Visitor
    stream_id: str
    run_id: str

    def requests(self, method: Method) -> dict[str, Any]:
        """A right request for the method, about what alice has."""
        stream, run = {"streamId": self.stream_id}, {"runId": self.run_id}
        return {
            "Stream": {"agent": HANGS, "prompt": "x", "resumable": True, "continuesStreamId": self.stream_id,
                       "continuesSequence": 1},
            "Run": {"agent": HANGS, "prompt": "x"},
            "ResumeStream": stream,
            "CancelStream": stream,
            "ValidateWorkflow": {"workflow": WAITS["workflow"], "queue": "mine"},
            "StartWorkflowRun": BEGUN,
            "ExecuteWorkflow": {"start": BEGUN},
            "WatchWorkflowRun": run,
            "GetWorkflowRun": run,
            "CancelWorkflowRun": run,
            "ResumeWorkflowRun": run,
            "DeleteWorkflowRun": run,
            "Attach": {"registration": {"workerId": "w", "queue": "mine", "handlers": ["h"]}},
        }.get(name_of(method), {})  # fmt: skip

    async def ask(
        self,
        method: Method,
        kind: str,
        request: dict[str, Any] | None = None,
        more: Sequence[tuple[str, Any]] = (),
    ) -> set[Any]:
        """Makes the call over each of several connections; the codes and reasons with which it ended.

        Args:
            method: the method.
            kind: the name of an identity.
            request: None for the right one.
            more: further metadata.
        """
        message = GetMessageClass(method.request)()
        ParseDict(self.requests(method) if request is None else request, message)
        identity = {**self.doors.good, **self.doors.bad}[kind]
        data, metadata = [message.SerializeToString()], (*identity.metadata, *more)
        channels = await self.visitor.channels(identity)
        calls = (call(channel, method, data, 1 if method.gives_many else 2, metadata) for channel in channels)
        endings: list[Ending] = [ending for ending, _ in await asyncio.gather(*calls)]
        return {(ending.code, ending.reason) for ending in endings}

    def metadata(self, kind: str) -> Metadata:
        """The metadata of the calls of an identity."""
        return self.doors.good[kind].metadata

    async def stubs(self) -> tuple[Any, Any]:
        """Of AgentService and of WorkflowService, for callers that show a token."""
        anyone = self.doors.good["alice"]
        return await self.visitor.agents(anyone), await self.visitor.workflows(anyone)

    async def left(self) -> tuple[list[str], list[tuple[str, int]]]:
        """The streams and the runs that the server has, as an operator sees them."""
        operator = self.doors.good["operator"]
        agents, workflows = await self.visitor.agents(operator), await self.visitor.workflows(operator)
        metadata = operator.metadata
        streams = await agents.ListStreams(agent_service_pb2.ListStreamsRequest(), metadata=metadata)
        runs = await workflows.ListWorkflowRuns(workflow_service_pb2.ListWorkflowRunsRequest(), metadata=metadata)
        return [stream.stream_id for stream in streams.streams], [(run.run_id, run.status) for run in runs.runs]


@asynccontextmanager
async def placed(server: Doors) -> AsyncIterator[Place]:
    """The server, where alice has a stream and a run for the length of the block."""
    alice = server.good["alice"]
    metadata = alice.metadata
    async with Visitor(server) as visitor:
        agents, workflows = await visitor.agents(alice), await visitor.workflows(alice)
        asked = ParseDict({"agent": HANGS, "prompt": "x", "resumable": True}, agent_service_pb2.StreamRequest())
        stream = agents.Stream(asked, metadata=metadata)
        first = await stream.read()
        start = ParseDict(WAITS, workflow_service_pb2.StartWorkflowRunRequest())
        run_id = (await workflows.StartWorkflowRun(start, metadata=metadata)).run_id
        yield Place(server, visitor, first.stream_id, run_id)
        stream.cancel()
        mine = await workflows.ListWorkflowRuns(workflow_service_pb2.ListWorkflowRunsRequest(), metadata=metadata)
        for run in mine.runs:
            if run.status == WORKFLOW_RUN_STATUS_RUNNING:
                cancel = workflow_service_pb2.CancelWorkflowRunRequest(run_id=run.run_id)
                await workflows.CancelWorkflowRun(cancel, metadata=metadata)
            delete = workflow_service_pb2.DeleteWorkflowRunRequest(run_id=run.run_id)
            await workflows.DeleteWorkflowRun(delete, metadata=metadata)
        for each in (await agents.ListStreams(agent_service_pb2.ListStreamsRequest(), metadata=metadata)).streams:
            cancelled = agent_service_pb2.CancelStreamRequest(stream_id=each.stream_id)
            await agents.CancelStream(cancelled, metadata=metadata)
