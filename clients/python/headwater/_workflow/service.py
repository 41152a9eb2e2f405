"""The calls of WorkflowService that are no streams, on the running loop."""

from __future__ import annotations

from typing import Any, cast

from headwater._grpc.channels import OpenChannel, open_channel
from headwater._grpc.loading import grpc
from headwater._grpc.patience import Patience, answer_patiently
from headwater._grpc.server import Server
from headwater._grpc.unary import CALL_SECONDS, answer
from headwater._grpc.wrong_server import wrong
from headwater._values.validation import invalid, text
from headwater.v1 import workflow_pb2, workflow_service_pb2


async def reach(server: Server) -> tuple[OpenChannel, bool]:
    """The channel to a server after a first attempt to connect, and whether that succeeded."""
    opened = await open_channel(server)
    waiting = (grpc.ChannelConnectivity.IDLE, grpc.ChannelConnectivity.CONNECTING)
    while (state := opened.channel.get_state(try_to_connect=True)) in waiting:
        await opened.channel.wait_for_state_change(state)
    return opened, state is grpc.ChannelConnectivity.READY


async def check_reached(server: Server) -> None:
    """Raises ServerUnavailableError unless the server answers now; for calls that would wait for it."""
    channel, reached = await reach(server)
    if not reached:
        request = workflow_service_pb2.ValidateWorkflowRequest(workflow=workflow_pb2.Workflow())
        await answer(server, lambda over: over.workflows.ValidateWorkflow, request, channel=channel)


async def start_run(server: Server, request: workflow_service_pb2.StartWorkflowRunRequest) -> str:
    """Start a run, once however often it takes; its id."""

    async def start(channel: OpenChannel | None = None) -> workflow_service_pb2.StartWorkflowRunResponse:
        return await answer(server, lambda over: over.workflows.StartWorkflowRun, request, channel=channel)

    channel, reached = await reach(server)
    if reached:
        advice = f"whether the run was started is not known; its request_id is {request.request_id}"
        started = await answer_patiently(start, Patience(advice))
    else:
        started = await start(channel)
    if not started.run_id:
        raise wrong("no id of the run that it has started")
    return started.run_id


async def validate(
    server: Server, workflow: workflow_pb2.Workflow, queue: str
) -> workflow_service_pb2.ValidateWorkflowResponse:
    """The mistakes and the warnings that the server has for a definition."""
    request = workflow_service_pb2.ValidateWorkflowRequest(workflow=workflow, queue=queue)
    return await answer(server, lambda over: over.workflows.ValidateWorkflow, request)


async def get_run(server: Server, run_id: str) -> workflow_pb2.WorkflowRun:
    """The run as it is now."""
    request = workflow_service_pb2.GetWorkflowRunRequest(run_id=run_id_of(run_id))
    return run_in(await answer(server, lambda over: over.workflows.GetWorkflowRun, request))


def run_in(found: workflow_service_pb2.GetWorkflowRunResponse) -> workflow_pb2.WorkflowRun:
    """The run of an answer. Raises HeadwaterError for an answer without one."""
    if not found.run.run_id:
        raise wrong("no run")
    return found.run


async def list_runs(
    server: Server, request: workflow_service_pb2.ListWorkflowRunsRequest
) -> workflow_service_pb2.ListWorkflowRunsResponse:
    """One page of runs."""
    return await answer(server, lambda over: over.workflows.ListWorkflowRuns, request)


async def cancel_run(server: Server, run_id: str, seconds: float = CALL_SECONDS) -> None:
    """End a run."""
    request = workflow_service_pb2.CancelWorkflowRunRequest(run_id=run_id_of(run_id))
    await answer(server, lambda over: over.workflows.CancelWorkflowRun, request, seconds)


async def resume_run(server: Server, run_id: str) -> int:
    """Continue a run; the number of its latest event before that."""
    request = workflow_service_pb2.ResumeWorkflowRunRequest(run_id=run_id)
    return (await answer(server, lambda over: over.workflows.ResumeWorkflowRun, request)).sequence


async def delete_run(server: Server, run_id: str) -> None:
    """Remove a run that has ended."""
    request = workflow_service_pb2.DeleteWorkflowRunRequest(run_id=run_id)
    await answer(server, lambda over: over.workflows.DeleteWorkflowRun, request)


def run_id_of(value: Any) -> str:
    """A run's id that a caller gave."""
    if not text("run_id", value):
        raise invalid("run_id", "is empty; write the id of a run, such as WorkflowResult.run_id")
    return cast("str", value)
