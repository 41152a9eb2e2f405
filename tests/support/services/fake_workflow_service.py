"""A WorkflowService whose runs go as a test wants, over a real socket, on a separate event loop.

For tests of the client alone: its output, and how it continues when the server is away. It has no scheduler and no
workers; a run is a list of events that the test lets happen.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import grpc

from headwater.v1 import workflow_pb2, workflow_service_pb2, workflow_service_pb2_grpc
from tests.support.runs.events import event
from tests.support.servers.service_thread import ServiceThread
from tests.support.services.fake_agent_service import error_info, fail

PB = workflow_pb2
RUNNING = PB.WORKFLOW_RUN_STATUS_RUNNING
COMPLETED = PB.WORKFLOW_RUN_STATUS_COMPLETED
FAILED = PB.WORKFLOW_RUN_STATUS_FAILED
CANCELLED = PB.WORKFLOW_RUN_STATUS_CANCELLED


@dataclass
class FakeRun:
    """A run: its events so far, and its state."""

    request: workflow_service_pb2.StartWorkflowRunRequest
    events: list[PB.WorkflowEvent]
    status: int = RUNNING
    context: str = ""
    cancelled: int = 0
    resumed: int = 0


@dataclass
class FakeWorkflowService(workflow_service_pb2_grpc.WorkflowServiceServicer, ServiceThread):
    """The service; use it as a context manager.

    Attributes:
        script: events that happen at once when a run starts; the run stays as it is after the last, unless that is
            run_finished.
        context: a run's context at its end; empty: as it was at the start.
        violations: the mistakes that any definition has.
        starts: the requests so far.
        start_seconds: how long a start takes.
        fail_starts: that many starts are accepted, and then fail as if the connection had been lost.
        cut_after: number of events after which a watch fails with the status beside it; each is used once.
        watches: `after_sequence` of each watch.
    """

    script: list[PB.WorkflowEvent] = field(default_factory=list)
    context: str = ""
    violations: list[tuple[str, str]] = field(default_factory=list)
    starts: list[workflow_service_pb2.StartWorkflowRunRequest] = field(default_factory=list)
    start_seconds: float = 0.0
    fail_starts: int = 0
    cut_after: list[tuple[int, grpc.StatusCode, str]] = field(default_factory=list)
    watches: list[int] = field(default_factory=list)
    runs: dict[str, FakeRun] = field(default_factory=dict)

    @property
    def run(self) -> FakeRun:
        """The only run."""
        (run,) = self.runs.values()
        return run

    def wait_for(self, condition: Any, seconds: float = 10.0) -> None:
        """Wait until something is true of this service; fails when it does not come true."""

        async def wait() -> None:
            while not condition():
                await asyncio.sleep(0.002)

        async def limited() -> None:
            await asyncio.wait_for(wait(), seconds)

        asyncio.run_coroutine_threadsafe(limited(), self.loop).result()

    def happen(self, *events: PB.WorkflowEvent) -> None:
        """Let something happen in the only run."""
        self.loop.call_soon_threadsafe(self._happen, self.run, events)

    def _happen(self, run: FakeRun, events: Any) -> None:
        for happened in events:
            numbered = PB.WorkflowEvent()
            numbered.CopyFrom(happened)
            numbered.sequence = run.events[-1].sequence + 1 if run.events else 1
            if happened.HasField("run_finished"):
                run.status = happened.run_finished.status
            run.events.append(numbered)
        self._changed.set()
        self._changed = asyncio.Event()

    async def StartWorkflowRun(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.starts.append(request)
        if self.violations:
            text = "; ".join(f"{path}: {what}" for path, what in self.violations)
            await fail(context, grpc.StatusCode.INVALID_ARGUMENT, text, error_info("WORKFLOW_INVALID"))
        await asyncio.sleep(self.start_seconds)
        found = [run_id for run_id, run in self.runs.items() if run.request.request_id == request.request_id]
        run_id = found[0] if found else f"run_{len(self.runs) + 1}"
        if not found:
            self.runs[run_id] = FakeRun(request, [])
            self._happen(self.runs[run_id], self.script)
        if self.fail_starts:
            self.fail_starts -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the connection was lost")
        return workflow_service_pb2.StartWorkflowRunResponse(run_id=run_id)

    async def WatchWorkflowRun(self, request: Any, context: Any) -> Any:  # noqa: N802
        run = await self._find(request.run_id, context)
        self.watches.append(request.after_sequence)
        cut = self.cut_after.pop(0) if self.cut_after else None
        sent, number = 0, 0
        while True:
            changed = self._changed
            while number < len(run.events):
                following = run.events[number]
                number += 1
                if following.sequence <= request.after_sequence:
                    continue
                if cut is not None and sent == cut[0]:
                    details = (error_info(cut[2]),) if cut[2] else ()
                    await fail(context, cut[1], "it was cut", *details)
                yield following
                sent += 1
            if run.status != RUNNING:
                return
            await changed.wait()

    async def GetWorkflowRun(self, request: Any, context: Any) -> Any:  # noqa: N802
        run = await self._find(request.run_id, context)
        steps = {
            step.name: PB.StepRun(name=step.name, status=PB.STEP_STATUS_PENDING) for step in run.request.workflow.steps
        }
        for past in run.events:
            if past.HasField("step_completed"):
                steps[past.step].status = PB.STEP_STATUS_COMPLETED
                steps[past.step].result_json = past.step_completed.result_json
            elif past.HasField("step_failed"):
                steps[past.step].status = PB.STEP_STATUS_FAILED
                steps[past.step].failure.CopyFrom(past.step_failed.failure)
        return workflow_service_pb2.GetWorkflowRunResponse(
            run=PB.WorkflowRun(
                run_id=request.run_id,
                status=run.status,
                workflow=run.request.workflow,
                workflow_name=run.request.workflow.name,
                context_json=self.context or run.request.context_json,
                steps=steps.values(),
                queue=run.request.queue,
                sequence=run.events[-1].sequence if run.events else 0,
            )
        )

    async def CancelWorkflowRun(self, request: Any, context: Any) -> Any:  # noqa: N802
        run = await self._find(request.run_id, context)
        run.cancelled += 1
        if run.status in (COMPLETED, FAILED):
            await fail(context, grpc.StatusCode.FAILED_PRECONDITION, "it has ended", error_info("RUN_STATE"))
        if run.status == RUNNING:
            self._happen(run, [finished(CANCELLED)])
        return workflow_service_pb2.CancelWorkflowRunResponse()

    async def ResumeWorkflowRun(self, request: Any, context: Any) -> Any:  # noqa: N802
        run = await self._find(request.run_id, context)
        run.resumed += 1
        sequence = run.events[-1].sequence if run.events else 0
        if run.status == COMPLETED:
            await fail(context, grpc.StatusCode.FAILED_PRECONDITION, "it has completed", error_info("RUN_STATE"))
        if run.status != RUNNING:
            run.status = RUNNING
            self._happen(run, [event("run_resumed")])
        return workflow_service_pb2.ResumeWorkflowRunResponse(sequence=sequence)

    async def ValidateWorkflow(self, request: Any, context: Any) -> Any:  # noqa: N802
        return workflow_service_pb2.ValidateWorkflowResponse(
            violations=[
                workflow_service_pb2.WorkflowViolation(field=path, description=what) for path, what in self.violations
            ]
        )

    async def _unused(self, request: Any, context: Any) -> Any:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "the fake has no such call")

    ExecuteWorkflow = ListWorkflowRuns = DeleteWorkflowRun = _unused

    async def _find(self, run_id: str, context: Any) -> FakeRun:
        if run_id not in self.runs:
            await fail(context, grpc.StatusCode.NOT_FOUND, "no run has this id", error_info("RUN_NOT_FOUND"))
        return self.runs[run_id]

    def _begin(self, server: grpc.aio.Server) -> None:
        self._changed = asyncio.Event()
        workflow_service_pb2_grpc.add_WorkflowServiceServicer_to_server(self, server)


def finished(status: int = COMPLETED) -> PB.WorkflowEvent:
    """The last event of a run."""
    return event("run_finished", status=status)


def one_step(text: str = "Hello", step: str = "ask") -> list[PB.WorkflowEvent]:
    """A run of one action that goes well."""
    return [
        event("run_started"),
        event("step_started", step, attempt=1),
        event("step_chunk", step, attempt=1, content=text),
        event("step_completed", step, attempt=1, result_json=f'"{text}"'),
        finished(),
    ]
