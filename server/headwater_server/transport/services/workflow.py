"""WorkflowService: requests in, answers out; `workflows.engine.runs` does the work."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import TypeVar

from google.protobuf.message import Message

from headwater.v1 import workflow_pb2, workflow_service_pb2, workflow_service_pb2_grpc
from headwater_server.callers.caller import caller
from headwater_server.domain.call_origin import origin
from headwater_server.domain.errors import FieldViolation, HeadwaterError, Reason, invalid
from headwater_server.domain.limits import MAX_NAME
from headwater_server.telemetry.aside import Aside
from headwater_server.telemetry.audit import audit
from headwater_server.telemetry.call_facts import add_facts
from headwater_server.transport.convert import paging
from headwater_server.transport.convert.run_events import run_event
from headwater_server.transport.convert.runs import (
    parse_context,
    parse_min_create_time,
    parse_status,
    run_summary,
    workflow_run,
)
from headwater_server.transport.convert.workflows import parse_workflow
from headwater_server.transport.handlers import Context
from headwater_server.workflows.definition import graph
from headwater_server.workflows.engine.run_calls import StartRequest
from headwater_server.workflows.engine.runs import Runs
from headwater_server.workflows.journal.base import LARGE_CHARACTERS, RunSummary

WRITE_SECONDS = 30.0

T = TypeVar("T")

LARGE_BYTES = 16 * 1024
"""A request with more bytes is not looked at on the event loop."""
LARGE_PARTS = 200
"""A run with more steps and keys is not made into a message on the event loop."""


class WorkflowService(workflow_service_pb2_grpc.WorkflowServiceServicer):
    """Bridges the RPCs to the runs."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._aside = Aside()

    async def ValidateWorkflow(  # noqa: N802
        self, request: workflow_service_pb2.ValidateWorkflowRequest, context: Context
    ) -> workflow_service_pb2.ValidateWorkflowResponse:
        """Names every mistake of a definition."""
        _check_length("queue", request.queue)
        workflow, violations = await self._do(request, lambda: parse_workflow(request.workflow))
        violations += await self._runs.definitions.validate(workflow, request.queue)
        warnings = [] if violations else await self._do(request, lambda: graph.warnings(workflow))
        return workflow_service_pb2.ValidateWorkflowResponse(
            violations=map(_violation, violations), warnings=map(_violation, warnings)
        )

    async def StartWorkflowRun(  # noqa: N802
        self, request: workflow_service_pb2.StartWorkflowRunRequest, context: Context
    ) -> workflow_service_pb2.StartWorkflowRunResponse:
        """Starts a run."""
        run_id = await self._start(request)
        add_facts(run_id=run_id)
        return workflow_service_pb2.StartWorkflowRunResponse(run_id=run_id)

    async def ExecuteWorkflow(  # type: ignore[override]  # noqa: N802  gRPC also takes a coroutine that writes
        self, request: workflow_service_pb2.ExecuteWorkflowRequest, context: Context
    ) -> None:
        """Starts a run and writes its events."""
        await self._write_events(await self._start(request.start), 0, context)

    async def _start(self, request: workflow_service_pb2.StartWorkflowRunRequest) -> str:
        asked = await self._do(request, lambda: _start_request(request))
        caller.get().check_run_queues({step.queue or asked.queue for step in asked.workflow.steps if step.handler})
        return await self._runs.start_run(asked)

    async def _do(self, request: Message, work: Callable[[], T]) -> T:
        """The result of some work on a request, which takes long for a large one."""
        return await self._aside.do(work, is_large=request.ByteSize() > LARGE_BYTES)

    async def WatchWorkflowRun(  # type: ignore[override]  # noqa: N802
        self, request: workflow_service_pb2.WatchWorkflowRunRequest, context: Context
    ) -> None:
        """Writes the events of a run."""
        if request.after_sequence < 0:
            raise invalid("after_sequence", f"must not be negative, is {request.after_sequence}")
        await self._write_events(_run_id(request.run_id), request.after_sequence, context)

    async def _write_events(self, run_id: str, after: int, context: Context) -> None:
        add_facts(run_id=run_id)
        async with aclosing(self._runs.watch_run(run_id, after)) as events:
            async for event in events:
                await _write(run_event(run_id, event), context)

    async def GetWorkflowRun(  # noqa: N802
        self, request: workflow_service_pb2.GetWorkflowRunRequest, context: Context
    ) -> workflow_service_pb2.GetWorkflowRunResponse:
        """Returns a run as it is now."""
        view = (await self._runs.get_run(_run_id(request.run_id))).copied()
        is_large = len(view.state.steps) + len(view.state.context) > LARGE_PARTS
        run = await self._aside.do(lambda: workflow_run(view), is_large=is_large)
        return workflow_service_pb2.GetWorkflowRunResponse(run=run)

    async def ListWorkflowRuns(  # noqa: N802
        self, request: workflow_service_pb2.ListWorkflowRunsRequest, context: Context
    ) -> workflow_service_pb2.ListWorkflowRunsResponse:
        """Lists runs."""
        size = paging.page_size(request.page_size)
        before = paging.page_start(request.page_token)
        status = parse_status(request.status)
        since = parse_min_create_time(request)
        found = await self._runs.list_runs(before, size + 1, status, request.workflow_name, since)
        return _page(found, size)

    async def CancelWorkflowRun(  # noqa: N802
        self, request: workflow_service_pb2.CancelWorkflowRunRequest, context: Context
    ) -> workflow_service_pb2.CancelWorkflowRunResponse:
        """Ends a run."""
        if await self._runs.cancel_run(_run_id(request.run_id)):
            audit("run_cancelled")
        return workflow_service_pb2.CancelWorkflowRunResponse()

    async def ResumeWorkflowRun(  # noqa: N802
        self, request: workflow_service_pb2.ResumeWorkflowRunRequest, context: Context
    ) -> workflow_service_pb2.ResumeWorkflowRunResponse:
        """Continues a run."""
        sequence = await self._runs.resume_run(_run_id(request.run_id))
        return workflow_service_pb2.ResumeWorkflowRunResponse(sequence=sequence)

    async def DeleteWorkflowRun(  # noqa: N802
        self, request: workflow_service_pb2.DeleteWorkflowRunRequest, context: Context
    ) -> workflow_service_pb2.DeleteWorkflowRunResponse:
        """Removes a run."""
        await self._runs.delete_run(_run_id(request.run_id))
        audit("run_deleted")
        return workflow_service_pb2.DeleteWorkflowRunResponse()


async def _write(event: workflow_pb2.WorkflowEvent, context: Context) -> None:
    """Writes an event. A watcher that does not take a large one holds up others, so it is let go after a while."""
    try:
        async with asyncio.timeout(WRITE_SECONDS if event.ByteSize() > LARGE_CHARACTERS else None):
            await context.write(event)
    except TimeoutError as error:
        text = f"the watcher has taken no event for {WRITE_SECONDS:g} s; watch again after its last one"
        raise HeadwaterError(Reason.SERVER_OVERLOADED, text, retry_after_seconds=1.0) from error


def _violation(found: FieldViolation) -> workflow_service_pb2.WorkflowViolation:
    return workflow_service_pb2.WorkflowViolation(field=found.field, description=found.description)


def _page(found: Sequence[RunSummary], size: int) -> workflow_service_pb2.ListWorkflowRunsResponse:
    """At most `size` of the runs found, and no more than fit into one message."""
    runs = paging.fitting(map(run_summary, found[:size]))
    last = found[len(runs) - 1].position if len(runs) < len(found) else 0
    return workflow_service_pb2.ListWorkflowRunsResponse(runs=runs, next_page_token=paging.page_token(last))


def _start_request(message: workflow_service_pb2.StartWorkflowRunRequest) -> StartRequest:
    for name in ("queue", "request_id"):
        _check_length(name, getattr(message, name))
    workflow, violations = parse_workflow(message.workflow)
    body = message.SerializeToString(deterministic=True)
    return StartRequest(
        workflow=workflow,
        context=parse_context(message),
        queue=message.queue,
        request_id=message.request_id,
        fingerprint=hashlib.sha256(body).hexdigest(),
        size=len(body),
        violations=tuple(violations),
        origin=origin.get(),
        owner=caller.get().name,
    )


def _run_id(run_id: str) -> str:
    if not run_id:
        raise invalid("run_id", "is empty; it is on every event of a run, and in ListWorkflowRuns")
    add_facts(run_id=run_id[:100])
    return run_id


def _check_length(name: str, value: str) -> None:
    if len(value) > MAX_NAME:
        raise invalid(name, f"is longer than {MAX_NAME} characters")
