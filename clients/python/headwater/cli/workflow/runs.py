"""What the commands ask of WorkflowService."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from datetime import datetime
from typing import TYPE_CHECKING

import grpc

from headwater._call.request import Server
from headwater._grpc.channels import channels_of_running_loop
from headwater._grpc.errors import to_exception
from headwater._workflow.service import Patience, may_pass
from headwater.v1 import workflow_pb2, workflow_service_pb2, workflow_service_pb2_grpc

if TYPE_CHECKING:
    from headwater.v1.workflow_service_pb2_grpc import WorkflowServiceAsyncStub

_CALL_SECONDS = 30.0
_LARGEST_PAGE = 1_000


async def list_runs(
    server: Server, status: str | None, workflow: str, since: datetime | None, limit: int
) -> workflow_service_pb2.ListWorkflowRunsResponse:
    """The newest runs, as many as asked for, in one answer. Raises HeadwaterError."""
    found = workflow_service_pb2.ListWorkflowRunsResponse()
    request = workflow_service_pb2.ListWorkflowRunsRequest(
        workflow_name=workflow, status=f"WORKFLOW_RUN_STATUS_{(status or 'unspecified').upper()}"
    )
    if since is not None:
        request.since.FromDatetime(since)
    while True:
        request.page_size = min(limit - len(found.runs), _LARGEST_PAGE)
        try:
            page = await _stub(server).ListWorkflowRuns(request, timeout=_CALL_SECONDS, metadata=server.headers())
        except grpc.aio.AioRpcError as error:
            raise to_exception(error, target=server.target) from None
        found.runs.extend(page.runs)
        found.next_page_token = request.page_token = page.next_page_token
        if not page.next_page_token or len(found.runs) >= limit:
            return found


async def events(
    server: Server, run_id: str, after: int, note: Callable[[str], None], *, patient: bool
) -> AsyncGenerator[workflow_pb2.WorkflowEvent, None]:
    """The events of a run to its end, over lost connections too. Leaving them does not touch the run.

    Args:
        after: sequence of the last event that is known; 0: from the first.
        note: told in a line when the connection is lost, and when it is there again.
        patient: the server has just answered; else one that does not answer at first is reported at once.

    Raises HeadwaterError.
    """
    patience = Patience(f"{run_id} goes on when the server is back; headwater workflow watch {run_id}")
    lost = False
    while True:
        request = workflow_service_pb2.WatchWorkflowRunRequest(run_id=run_id, after_sequence=after)
        call = _stub(server).WatchWorkflowRun(request, metadata=server.headers())
        try:
            async for message in call:
                if lost:
                    note(f"connected to {server.target} again")
                patient, lost, after = True, False, message.sequence
                patience.heard()
                yield message
            return
        except grpc.aio.AioRpcError as error:
            failure = to_exception(error, target=server.target)
            if not (patient and may_pass(failure)):
                raise failure from None
            if not lost:
                note(f"the connection to {server.target} was lost after event {after}; trying again")
            lost = True
            await patience.wait(failure)
        finally:
            call.cancel()


def _stub(server: Server) -> WorkflowServiceAsyncStub:
    return workflow_service_pb2_grpc.WorkflowServiceStub(channels_of_running_loop().channel(server.target))
