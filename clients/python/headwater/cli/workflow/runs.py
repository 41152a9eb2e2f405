"""The runs that `headwater workflow list` shows."""

from __future__ import annotations

from datetime import datetime

from headwater._grpc.server import Server
from headwater._grpc.wrong_server import Pages
from headwater._workflow import service
from headwater.v1 import workflow_service_pb2

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
        request.min_create_time.FromDatetime(since)
    pages = Pages()
    while True:
        request.page_size = min(limit - len(found.runs), _LARGEST_PAGE)
        page = await service.list_runs(server, request)
        found.runs.extend(page.runs)
        found.next_page_token = page.next_page_token
        if not page.next_page_token or len(found.runs) >= limit:
            return found
        request.page_token = pages.next(page.next_page_token)
