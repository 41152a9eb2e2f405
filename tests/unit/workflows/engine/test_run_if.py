"""A step says with which ends of the steps before it it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from headwater_server.domain.failure import final_step_error
from headwater_server.domain.workflow import EventType, Outcome, RunIf, SkipReason, Step, StepStatus, Workflow
from headwater_server.workflows.definition import graph
from headwater_server.workflows.engine.scheduler import Scheduler, prepare_resume
from tests.support.runs.expressions import decide
from tests.support.runs.runs import FakeRecorder

COMPLETED, SKIPPED, FAILED = StepStatus.COMPLETED, StepStatus.SKIPPED, StepStatus.FAILED
OK = Step("ok")
BAD = Step("bad")
OFF = Step("off", condition="false")
AFTER_BAD = Step("after_bad", depends_on=("bad",))


def join(run_if: RunIf | None, *names: str) -> Step:
    return Step("join", depends_on=names, run_if=run_if)


async def drive(definition: Workflow, recorder: FakeRecorder, failing: tuple[str, ...] = ("bad",)) -> None:
    async def execute(step: Step, attempt: int, values: Mapping[str, str], results: Mapping[str, str]) -> Outcome:
        if step.name in failing:
            raise final_step_error("no")
        assert all(results.values())
        return Outcome("1")

    await Scheduler(definition, recorder.load(), execute, recorder.record, decide).run()


def run(*steps: Step) -> FakeRecorder:
    definition = Workflow("w", steps)
    recorder = FakeRecorder(definition)
    asyncio.run(drive(definition, recorder))
    return recorder


@pytest.mark.parametrize(
    ("run_if", "before", "reason"),
    [
        (None, (OK,), None),
        (None, (OK, OFF), SkipReason.DEPENDENCY_SKIPPED),
        (RunIf.ALL_SUCCEEDED, (OK, OFF), SkipReason.DEPENDENCY_SKIPPED),
        (RunIf.NONE_FAILED, (), None),
        (RunIf.NONE_FAILED, (OK, OFF), None),
        (RunIf.NONE_FAILED, (OFF,), SkipReason.DEPENDENCY_SKIPPED),
        (RunIf.NONE_FAILED, (OK, BAD), SkipReason.DEPENDENCY_FAILED),
        (RunIf.NONE_FAILED, (OK, BAD, AFTER_BAD), SkipReason.DEPENDENCY_FAILED),
        (RunIf.ALL_DONE, (OFF, BAD, AFTER_BAD), None),
        (RunIf.ANY_FAILED, (OK, OFF), SkipReason.NOTHING_FAILED),
        (RunIf.ANY_FAILED, (OK, BAD), None),
    ],
)
def test_a_step_runs_as_its_rule_says(
    run_if: RunIf | None, before: tuple[Step, ...], reason: SkipReason | None
) -> None:
    last = run(*before, join(run_if, *(step.name for step in before))).load().steps["join"]
    assert (last.status, last.skip_reason) == (SKIPPED if reason else COMPLETED, reason)


def test_a_step_that_was_skipped_because_of_a_failure_counts_as_failed() -> None:
    steps = run(OK, BAD, AFTER_BAD, join(RunIf.ANY_FAILED, "ok", "after_bad")).load().steps
    assert (steps["after_bad"].status, steps["join"].status) == (SKIPPED, COMPLETED)


def test_the_steps_that_led_to_a_skip_are_named_in_the_order_of_the_definition() -> None:
    after = Step("after", depends_on=("late",))
    definition = Workflow("w", (join(None, "after", "early"), after, Step("early"), Step("late")))
    recorder = FakeRecorder(definition)
    asyncio.run(drive(definition, recorder, failing=("early", "late")))
    assert recorder.load().steps["join"].skipped_because_of == ("early", "late")


def test_a_join_that_a_skip_silences_without_a_rule_is_a_warning_in_the_events() -> None:
    def warnings(recorder: FakeRecorder) -> list[str]:
        events = [event for call in recorder.calls for event in call]
        return [event.message for event in events if event.type is EventType.RUN_WARNING]

    [text] = warnings(run(OK, OFF, join(None, "ok", "off")))
    assert "none_failed" in text
    assert warnings(run(OFF, join(None, "off"))) == []
    assert warnings(run(OK, OFF, join(RunIf.ALL_SUCCEEDED, "ok", "off"))) == []


def test_validation_warns_of_such_a_join_and_not_of_one_inside_the_optional_branch() -> None:
    left, right = Step("left", depends_on=("off",)), Step("right", depends_on=("off",))
    inside = Step("inside", depends_on=("left", "right"))
    definition = Workflow("w", (OK, OFF, left, right, inside, join(None, "inside", "ok")))
    [warning] = graph.warnings(definition)
    assert warning.field == "workflow.steps[5].run_if"
    assert "`inside`" in warning.description
    for rule in RunIf:
        assert graph.warnings(Workflow("w", (OK, OFF, join(rule, "ok", "off")))) == []


def test_a_rule_that_waits_for_a_failure_needs_steps_that_can_fail() -> None:
    [mistake] = graph.violations(Workflow("w", (Step("a", action="x", run_if=RunIf.ANY_FAILED),)), "")
    assert mistake.field == "workflow.steps[0].run_if"


def test_cleaning_up_that_has_run_does_not_run_again_when_the_run_is_resumed() -> None:
    definition = Workflow("w", (BAD, join(RunIf.ANY_FAILED, "bad")))
    recorder = FakeRecorder(definition)
    asyncio.run(drive(definition, recorder))
    state = recorder.load()

    async def resume() -> None:
        await recorder.record(prepare_resume(definition, state))
        await drive(definition, recorder, failing=())

    asyncio.run(resume())
    steps = recorder.load().steps
    assert [(step.status, step.attempt) for step in steps.values()] == [(COMPLETED, 2), (COMPLETED, 1)]
