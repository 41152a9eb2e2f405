"""WorkflowService: requests in, answers out; what happens in between is `workflows.runs`."""

from __future__ import annotations

import hashlib
from contextlib import aclosing

import structlog

from headwater.v1 import workflow_service_pb2, workflow_service_pb2_grpc
from headwater_server.domain.errors import invalid
from headwater_server.domain.limits import MAX_NAME
from headwater_server.transport.convert import paging
from headwater_server.transport.convert import workflows as workflow_messages
from headwater_server.transport.handlers import Context
from headwater_server.workflows.engine.runs import Runs, StartRequest


class WorkflowService(workflow_service_pb2_grpc.WorkflowServiceServicer):
    """Bridges the RPCs to the runs."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    async def ValidateWorkflow(  # noqa: N802
        self, request: workflow_service_pb2.ValidateWorkflowRequest, context: Context
    ) -> workflow_service_pb2.ValidateWorkflowResponse:
        """Names every mistake of a definition."""
        _check_length("queue", request.queue)
        workflow, violations = workflow_messages.parse_workflow(request.workflow)
        violations += await self._runs.validate(workflow, request.queue)
        return workflow_service_pb2.ValidateWorkflowResponse(
            violations=[
                workflow_service_pb2.WorkflowViolation(field=v.field, description=v.description) for v in violations
            ]
        )

    async def StartWorkflowRun(  # noqa: N802
        self, request: workflow_service_pb2.StartWorkflowRunRequest, context: Context
    ) -> workflow_service_pb2.StartWorkflowRunResponse:
        """Starts a run."""
        run_id = await self._runs.start(_start_request(request))
        structlog.contextvars.bind_contextvars(run_id=run_id)
        return workflow_service_pb2.StartWorkflowRunResponse(run_id=run_id)

    async def ExecuteWorkflow(  # type: ignore[override]  # noqa: N802  gRPC also takes a coroutine that writes
        self, request: workflow_service_pb2.ExecuteWorkflowRequest, context: Context
    ) -> None:
        """Starts a run and writes its events."""
        await self._write_events(await self._runs.start(_start_request(request.start)), 0, context)

    async def WatchWorkflowRun(  # type: ignore[override]  # noqa: N802
        self, request: workflow_service_pb2.WatchWorkflowRunRequest, context: Context
    ) -> None:
        """Writes the events of a run."""
        if request.after_sequence < 0:
            raise invalid("after_sequence", f"must not be negative, is {request.after_sequence}")
        await self._write_events(_run_id(request.run_id), request.after_sequence, context)

    async def _write_events(self, run_id: str, after: int, context: Context) -> None:
        structlog.contextvars.bind_contextvars(run_id=run_id)
        first = True
        async with aclosing(self._runs.watch(run_id, after)) as events:
            async for event in events:
                message = workflow_messages.run_event(event)
                if first:
                    message.run_id = run_id
                    first = False
                await context.write(message)

    async def GetWorkflowRun(  # noqa: N802
        self, request: workflow_service_pb2.GetWorkflowRunRequest, context: Context
    ) -> workflow_service_pb2.GetWorkflowRunResponse:
        """Says how far a run is."""
        view = await self._runs.get(_run_id(request.run_id))
        return workflow_service_pb2.GetWorkflowRunResponse(run=workflow_messages.workflow_run(view))

    async def ListWorkflowRuns(  # noqa: N802
        self, request: workflow_service_pb2.ListWorkflowRunsRequest, context: Context
    ) -> workflow_service_pb2.ListWorkflowRunsResponse:
        """Lists runs."""
        size = paging.page_size(request.page_size)
        before = paging.page_start(request.page_token)
        status = workflow_messages.parse_status(request.status)
        since = request.since.seconds + request.since.nanos / 1e9
        found = await self._runs.page(before, size + 1, status, request.workflow_name, since)
        page = found[:size]
        return workflow_service_pb2.ListWorkflowRunsResponse(
            runs=map(workflow_messages.run_summary, page),
            next_page_token=paging.page_token(page[-1].position) if len(found) > size else "",
        )

    async def CancelWorkflowRun(  # noqa: N802
        self, request: workflow_service_pb2.CancelWorkflowRunRequest, context: Context
    ) -> workflow_service_pb2.CancelWorkflowRunResponse:
        """Ends a run."""
        await self._runs.cancel(_run_id(request.run_id))
        return workflow_service_pb2.CancelWorkflowRunResponse()

    async def ResumeWorkflowRun(  # noqa: N802
        self, request: workflow_service_pb2.ResumeWorkflowRunRequest, context: Context
    ) -> workflow_service_pb2.ResumeWorkflowRunResponse:
        """Goes on with a run."""
        sequence = await self._runs.resume(_run_id(request.run_id))
        return workflow_service_pb2.ResumeWorkflowRunResponse(sequence=sequence)


def _start_request(message: workflow_service_pb2.StartWorkflowRunRequest) -> StartRequest:
    for name in ("queue", "request_id"):
        _check_length(name, getattr(message, name))
    workflow, violations = workflow_messages.parse_workflow(message.workflow)
    body = message.SerializeToString(deterministic=True)
    return StartRequest(
        workflow=workflow,
        context=workflow_messages.parse_context(message),
        queue=message.queue,
        request_id=message.request_id,
        fingerprint=hashlib.sha256(body).hexdigest(),
        violations=tuple(violations),
    )


def _run_id(run_id: str) -> str:
    if not run_id:
        raise invalid("run_id", "is empty; it is on the first event of a run, and in ListWorkflowRuns")
    structlog.contextvars.bind_contextvars(run_id=run_id[:100])
    return run_id


def _check_length(name: str, value: str) -> None:
    if len(value) > MAX_NAME:
        raise invalid(name, f"is longer than {MAX_NAME} characters")
