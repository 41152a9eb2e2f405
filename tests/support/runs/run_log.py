"""Parts for tests of runs: a journal in memory, and the transitions that a scheduler would record."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from copy import deepcopy

from headwater_server.domain.errors import Reason
from headwater_server.domain.failure import Failure
from headwater_server.domain.workflow import (
    EventType,
    RunEvent,
    RunState,
    RunStatus,
    Step,
    StepState,
    StepStatus,
    Transition,
    Workflow,
)
from headwater_server.eventlog.stored_events import StoredEvent
from headwater_server.workflows.journal.base import Change, JournalDamagedError, JournalError, RunInfo

RUN_ID = "run_1"
NO = Failure(Reason.STEP_FAILED, "no")
BEGUN = StoredEvent(RunEvent(EventType.RUN_STARTED, sequence=1, create_time=1.0))


class FakeJournal:
    """A journal as a run's log needs it: one run in memory, with a gate before each commit.

    Attributes:
        changes: every change that was kept.
        reserved: the numbers that are reserved durably.
        gate: commits wait while it is not set.
        failing: commits keep nothing and fail with it.
    """

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.reserved = 1
        self.gate = asyncio.Event()
        self.gate.set()
        self.failing: Exception | None = None
        self.waiting: Change | None = None

    async def commit(self, run_id: str, change: Change) -> None:
        assert run_id == RUN_ID
        assert self.waiting is None, "one commit of a run at a time"
        self.waiting = deepcopy(change)
        try:
            await self.gate.wait()
            self.keep()
        finally:
            self.waiting = None

    def keep(self) -> None:
        """The commit that waits becomes durable."""
        assert self.waiting is not None
        if self.failing is not None:
            raise self.failing
        self.changes.append(self.waiting)
        self.reserved = max(self.reserved, self.waiting.reserved)

    def stored(self) -> list[StoredEvent]:
        """All stored events, in order."""
        events = [BEGUN, *(event for change in self.changes for event in change.events)]
        return sorted(deepcopy(events), key=lambda stored: stored.event.sequence)

    async def events(self, run_id: str, after: int) -> list[StoredEvent]:
        return [stored for stored in self.stored() if stored.event.sequence > after]


DISK_FULL = JournalError("the disk is full")
DAMAGED = JournalDamagedError("the file is damaged")


def run_info(run_id: str = RUN_ID, *, steps: Iterable[str] = ("a", "b"), request_id: str = "") -> RunInfo:
    """A run whose steps are prompts."""
    workflow = Workflow("demo", tuple(Step(name, action="say it") for name in steps))
    return RunInfo(run_id, workflow, queue="", request_id=request_id, fingerprint="f", created=1.0)


def run_state(info: RunInfo) -> RunState:
    """Its state before it begins."""
    return RunState({step.name: StepState(step.name) for step in info.workflow.steps})


def started(step: str, attempt: int = 1) -> Transition:
    state = StepState(step, StepStatus.RUNNING, attempt)
    return Transition(RunEvent(EventType.STEP_STARTED, step=step, attempt=attempt), state)


def completed(step: str, attempt: int = 1, result: str = '"done"') -> Transition:
    state = StepState(step, StepStatus.COMPLETED, attempt, result=result)
    event = RunEvent(EventType.STEP_COMPLETED, step=step, attempt=attempt, result=result)
    return Transition(event, state, {f"{step}_result": result})


def failed(step: str, attempt: int = 1) -> Transition:
    state = StepState(step, StepStatus.FAILED, attempt, failures=attempt, failure=NO)
    return Transition(RunEvent(EventType.STEP_FAILED, step=step, attempt=attempt, failure=NO), state)


def retrying(step: str, attempt: int = 1) -> Transition:
    state = StepState(step, StepStatus.RETRYING, attempt, failures=attempt, failure=NO)
    event = RunEvent(EventType.STEP_RETRYING, step=step, attempt=attempt, failure=NO, delay_seconds=0.2)
    return Transition(event, state)


def finished(status: RunStatus = RunStatus.COMPLETED, failure: Failure | None = None) -> Transition:
    return Transition(RunEvent(EventType.RUN_FINISHED, run_status=status, failure=failure))


def resumed() -> Transition:
    return Transition(RunEvent(EventType.RUN_RESUMED))
