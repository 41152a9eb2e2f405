"""A scheduler awaits the answer to a condition; a run that is ended meanwhile leaves it undecided."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from headwater_server.domain.workflow import Outcome, RunStatus, Step, StepStatus, Workflow
from headwater_server.workflows.engine.scheduler import Scheduler
from tests.support.runs.expressions import decide
from tests.support.runs.runs import FakeRecorder
from tests.support.virtual_time import run_in_virtual_time

WORKFLOW = Workflow("w", (Step("a", condition="true"), Step("b", condition="true", depends_on=("a",))))


class Slow:
    """Decides that each condition holds, after a minute. `asked`: the steps; `left`: those that were left undecided."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.left: list[str] = []

    async def decide(self, step: Step, context: Mapping[str, str]) -> bool:
        self.asked.append(step.name)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.left.append(step.name)
            raise
        return True


async def one(step: Step, attempt: int, context: Mapping[str, str], results: Mapping[str, str]) -> Outcome:
    return Outcome("1")


def test_a_condition_is_asked_once_and_its_answer_recorded_as_its_effect() -> None:
    slow, recorder = Slow(), FakeRecorder(WORKFLOW)
    run_in_virtual_time(Scheduler(WORKFLOW, recorder.load(), one, recorder.record, slow.decide).run())
    assert slow.asked == ["a", "b"]
    assert recorder.events() == ["step_started a", "step_completed a, step_started b", "step_completed b, run_finished"]


def test_a_run_that_is_cancelled_while_a_condition_is_decided_ends_at_once() -> None:
    slow, recorder = Slow(), FakeRecorder(WORKFLOW)
    scheduler = Scheduler(WORKFLOW, recorder.load(), one, recorder.record, slow.decide)

    async def main() -> float:
        running = asyncio.create_task(scheduler.run())
        await asyncio.sleep(1)
        scheduler.cancel()
        await running
        return asyncio.get_running_loop().time()

    began_and_took = run_in_virtual_time(main())
    assert began_and_took < 60
    assert slow.left == ["a"]
    assert recorder.state.status is RunStatus.CANCELLED


def test_a_run_that_stops_while_a_condition_is_decided_is_decided_by_the_next_process() -> None:
    slow, recorder = Slow(), FakeRecorder(WORKFLOW)
    scheduler = Scheduler(WORKFLOW, recorder.load(), one, recorder.record, slow.decide)

    async def main() -> None:
        running = asyncio.create_task(scheduler.run())
        await asyncio.sleep(1)
        scheduler.stop()
        await running

    run_in_virtual_time(main())
    assert (slow.left, recorder.calls) == (["a"], [])
    assert recorder.state.steps["a"].status is StepStatus.PENDING
    run_in_virtual_time(Scheduler(WORKFLOW, recorder.load(), one, recorder.record, decide).run())
    assert recorder.state.status is RunStatus.COMPLETED


@pytest.mark.parametrize("stopping", [False, True])
def test_a_scheduler_whose_task_is_cancelled_while_a_condition_is_decided_ends_so(stopping: bool) -> None:
    slow, recorder = Slow(), FakeRecorder(WORKFLOW)
    scheduler = Scheduler(WORKFLOW, recorder.load(), one, recorder.record, slow.decide)

    async def main() -> None:
        running = asyncio.create_task(scheduler.run())
        await asyncio.sleep(1)
        running.cancel()
        if stopping:
            scheduler.stop()
        with pytest.raises(asyncio.CancelledError):
            await running

    run_in_virtual_time(main())
    assert slow.left == ["a"]


def test_a_fault_of_the_decider_ends_the_scheduler() -> None:
    async def broken(step: Step, context: Mapping[str, str]) -> bool:
        raise RuntimeError("no")

    recorder = FakeRecorder(WORKFLOW)
    with pytest.raises(RuntimeError):
        run_in_virtual_time(Scheduler(WORKFLOW, recorder.load(), one, recorder.record, broken).run())
