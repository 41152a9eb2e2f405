"""A server under attack, which must come out of it as it went in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import grpc
import psutil

from headwater.v1.workflow_pb2 import WORKFLOW_RUN_STATUS_RUNNING
from headwater.v1.workflow_service_pb2 import (
    CancelWorkflowRunRequest,
    DeleteWorkflowRunRequest,
    ListWorkflowRunsRequest,
)
from tests.support.attacks import memory
from tests.support.servers.server import ServerProcess, provider_variables
from tests.support.stubs.stub import workflow_stub

VARIABLES = {
    # Streams are kept for a moment only, so that memory which grows is memory that is lost.
    "HEADWATER_RESUME_RETENTION_SECONDS": "5",
    "HEADWATER_DETACH_SECONDS": "1",
    "HEADWATER_DRAIN_SECONDS": "0.5",
    "HEADWATER_LOG_LEVEL": "warning",
}


@contextmanager
def attacked(providers_url: str, processes: int) -> Iterator[ServerProcess]:
    """A server that logs no error, and has the same processes at the end."""
    variables = {**provider_variables(providers_url), **VARIABLES}
    with ServerProcess("--scripted", variables=variables, processes=processes) as server:
        before = _children(server) if processes > 1 else []
        yield server
        assert not before or _children(server) == before, "a process of the server has ended"
        errors = [event for event in server.events if event["level"] == "error"]
        assert not errors, errors


def _children(server: ServerProcess) -> list[int]:
    return sorted(process.pid for process in psutil.Process(server.process.pid).children())


def family_memory(server: ServerProcess) -> int:
    """The resident memory of all its processes, in MB."""
    parent = psutil.Process(server.process.pid)
    return sum(memory(process.pid) for process in (parent, *parent.children(recursive=True)))


async def forget_runs(server: ServerProcess) -> None:
    """Cancels and deletes all runs of workflows: a run that waits for its worker is no memory that is lost."""
    async with workflow_stub(server.target) as stub:
        while runs := (await stub.ListWorkflowRuns(ListWorkflowRunsRequest(page_size=100))).runs:
            for run in runs:
                with suppress(grpc.aio.AioRpcError):  # it ends right now, and is listed again
                    if run.status == WORKFLOW_RUN_STATUS_RUNNING:
                        await stub.CancelWorkflowRun(CancelWorkflowRunRequest(run_id=run.run_id))
                    await stub.DeleteWorkflowRun(DeleteWorkflowRunRequest(run_id=run.run_id))


def is_flat(sizes: list[int]) -> bool:
    """Whether memory has stopped growing: the last of these sizes is at most a tenth above the second."""
    return sizes[-1] <= 1.1 * sizes[1]
