"""Processes that hang: they are replaced, calls about their streams wait for none of them, none keeps the port."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import grpc
import psutil
import pytest

from headwater.v1.agent_service_pb2 import CancelStreamRequest, ListStreamsRequest, StreamRequest
from headwater.v1.agent_service_pb2_grpc import AgentServiceStub
from headwater.v1.workflow_service_pb2 import ListWorkflowRunsRequest
from headwater.v1.workflow_service_pb2_grpc import WorkflowServiceStub
from tests.support.servers.processes import channel_to, pid_of
from tests.support.servers.server import ServerProcess

AT_ONCE = 4.0
"""Seconds that a call may take on a busy machine; one that waits for the replacement takes longer."""


def hanging_stream() -> StreamRequest:
    request = StreamRequest(prompt="x", agent={"model": "scripted/echo"})
    request.agent.provider_options["scripted"].update({"text": "one two", "hang_after": 1})
    return request


@pytest.mark.parametrize("hung", [pytest.param(0, marks=pytest.mark.chaos), 1])
async def test_calls_for_a_process_that_hangs_end_at_once_and_its_port_is_free_when_the_parent_dies(hung, tmp_path):
    with ServerProcess("--scripted", processes=2) as server:
        server.expected_code = -signal.SIGKILL
        family = psutil.Process(server.process.pid).children(recursive=True)
        async with channel_to(server.target, hung) as theirs, channel_to(server.target, 1 - hung) as other:
            stream = AgentServiceStub(theirs).Stream(hanging_stream())
            stream_id = (await stream.read()).stream_id
            os.kill(await pid_of(server, hung), signal.SIGSTOP)
            began = time.monotonic()
            calls = [
                AgentServiceStub(other).CancelStream(CancelStreamRequest(stream_id=stream_id)),
                AgentServiceStub(other).ListStreams(ListStreamsRequest()),
            ]
            if not hung:
                calls.append(WorkflowServiceStub(other).ListWorkflowRuns(ListWorkflowRunsRequest()))
            codes = [await _code(call) for call in calls]
            assert codes == [grpc.StatusCode.UNAVAILABLE] * len(calls)
            assert time.monotonic() - began < AT_ONCE
            server.process.kill()
            stream.cancel()
        gone, alive = await asyncio.to_thread(psutil.wait_procs, family, 10)
        assert (len(gone), alive) == (2, [])


async def _code(call: grpc.aio.UnaryUnaryCall) -> grpc.StatusCode:
    return await asyncio.wait_for(call.code(), 10)


@pytest.mark.chaos
@pytest.mark.parametrize("hung", [0, 1])
async def test_a_process_that_hangs_is_replaced(hung):
    with ServerProcess("--scripted", processes=2) as server:
        os.kill(await pid_of(server, hung), signal.SIGSTOP)
        await asyncio.wait_for(pid_of(server, hung, start=2), 20)
        async with channel_to(server.target, hung) as channel:
            stream = AgentServiceStub(channel).Stream(hanging_stream())
            assert (await stream.read()).content == "one"
            stream.cancel()
        (line,) = [event for event in server.events if event["event"] == "process hangs"]
        assert line["process"] == hung
