"""Any workflow, with any outcomes, ended at any moment: the run ends as a simple model says, and no step runs twice."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater_server.domain.workflow import (
    Outcome,
    RunState,
    RunStatus,
    Step,
    StepError,
    StepState,
    StepStatus,
    Transition,
    Workflow,
)
from headwater_server.workflows.engine.scheduler import Scheduler, prepare_resume
from tests.support.runs.runs import CrashError, FakeRecorder
from tests.support.virtual_time import run_in_virtual_time


@dataclass(frozen=True)
class Plan:
    """The outcomes of the attempts of each step. A step's n-th entry is for when n attempts have failed before."""

    workflow: Workflow
    outcomes: Mapping[str, tuple[str, ...]]
    seconds: Mapping[str, float]

    def outcome(self, step: str, failures: int) -> str:
        plan = self.outcomes[step]
        return plan[failures] if failures < len(plan) else "1"


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    steps: list[Step] = []
    for index in range(draw(st.integers(1, 7))):
        earlier = [step.name for step in steps]
        depends_on = tuple(draw(st.lists(st.sampled_from(earlier), unique=True, max_size=3))) if earlier else ()
        choices = ["", "", "", "true", "false", "context.missing == 1", "context.given == 1"]
        choices += [f"context.{name}_result == 1" for name in depends_on]
        steps.append(
            Step(
                f"s{index}",
                handler="h",
                depends_on=depends_on,
                condition=draw(st.sampled_from(choices)),
                max_retries=draw(st.integers(0, 2)),
                parallel=draw(st.sampled_from([True, True, True, False])),
            )
        )
    order = draw(st.permutations(steps))
    tries = st.lists(st.sampled_from(["retry", "raise", "fatal", "retry"]), max_size=3)
    return Plan(
        Workflow("w", tuple(order)),
        {step.name: (*draw(tries), draw(st.sampled_from(["0", "1"]))) for step in steps},
        {step.name: draw(st.sampled_from([0.0, 0.0, 0.5, 1.0, 7.0])) for step in steps},
    )


def expected(plan: Plan) -> RunState:
    """The model: one step after the other, each after those it depends on."""
    steps = {step.name: StepState(step.name) for step in plan.workflow.steps}
    context = {"given": "1"}
    for step in sorted(plan.workflow.steps, key=lambda step: step.name):  # s0, s1, ...: dependencies come first
        state = steps[step.name]
        missed = [steps[name] for name in step.depends_on if steps[name].status is not StepStatus.COMPLETED]
        key = step.condition.removeprefix("context.").removesuffix(" == 1")
        if missed:
            state.status = StepStatus.SKIPPED
            causes = {c for m in missed for c in ([m.name] if m.status is StepStatus.FAILED else m.cause)}
            state.cause = tuple(other.name for other in plan.workflow.steps if other.name in causes)
        elif step.condition == "false" or context.get(key, "1") == "0":
            state.status = StepStatus.SKIPPED
        elif key == "missing":
            state.status = StepStatus.FAILED
        else:
            _run_alone(plan, step, state, context)
    failed = any(state.status is StepStatus.FAILED for state in steps.values())
    return RunState(steps, context, RunStatus.FAILED if failed else RunStatus.COMPLETED)


def _run_alone(plan: Plan, step: Step, state: StepState, context: dict[str, str]) -> None:
    while True:
        outcome = plan.outcome(step.name, state.failures)
        if outcome in {"0", "1"}:
            state.status, state.result = StepStatus.COMPLETED, outcome
            context[f"{step.name}_result"] = outcome
            return
        state.failures += 1
        if outcome == "fatal" or state.failures > step.max_retries:
            state.status = StepStatus.FAILED
            return


class Host:
    """Executes attempts as planned, and watches over what the scheduler promises."""

    def __init__(self, plan: Plan, journal: FakeRecorder) -> None:
        self._plan = plan
        self._journal = journal
        self._running: list[Step] = []
        self.attempts: dict[str, list[int]] = {step.name: [] for step in plan.workflow.steps}

    async def execute(
        self, step: Step, attempt: int, context: Mapping[str, str], results: Mapping[str, str]
    ) -> Outcome:
        recorded = self._journal.state.steps
        assert (recorded[step.name].status, recorded[step.name].attempt) == (StepStatus.RUNNING, attempt)
        assert attempt > max(self.attempts[step.name], default=0)
        assert results == {name: recorded[name].result for name in step.depends_on}
        assert all(recorded[name].status is StepStatus.COMPLETED for name in step.depends_on)
        assert all(context[f"{name}_result"] == results[name] for name in step.depends_on)
        assert not self._running or (step.parallel and all(other.parallel for other in self._running))
        self.attempts[step.name].append(attempt)
        self._running.append(step)
        try:
            await asyncio.sleep(self._plan.seconds[step.name])
        finally:
            self._running.remove(step)
        outcome = self._plan.outcome(step.name, recorded[step.name].failures)
        if outcome == "raise":
            raise RuntimeError("no")
        if outcome not in {"0", "1"}:
            raise StepError("no", retryable=outcome == "retry")
        return Outcome(outcome)

    def is_idle(self) -> bool:
        return not self._running


def check_the_end(plan: Plan, journal: FakeRecorder, state: RunState) -> None:
    model = expected(plan)
    found = journal.state
    assert (found.status, found.context) == (model.status, model.context)
    for name, step in model.steps.items():
        recorded = found.steps[name]
        assert (recorded.status, recorded.result, recorded.cause) == (step.status, step.result, step.cause), name
        assert recorded.failures == step.failures or step.status is StepStatus.SKIPPED
    assert state == found


def drive(plan: Plan, journal: FakeRecorder, host: Host) -> RunState:
    """Runs what the journal has in a new process."""

    async def main() -> RunState:
        state = journal.load()
        try:
            await Scheduler(plan.workflow, state, host.execute, journal.record).run()
        finally:
            assert host.is_idle()
        return state

    return run_in_virtual_time(main())


@given(plans())
@settings(max_examples=150)
def test_a_run_ends_as_the_model_says(plan: Plan) -> None:
    journal = FakeRecorder(plan.workflow, {"given": "1"})
    host = Host(plan, journal)
    check_the_end(plan, journal, drive(plan, journal, host))
    for name, step in expected(plan).steps.items():
        assert len(host.attempts[name]) == step.failures + (step.status is StepStatus.COMPLETED)


@given(plans())
@settings(max_examples=40)
def test_a_run_that_crashed_after_any_record_ends_the_same(plan: Plan) -> None:
    whole = FakeRecorder(plan.workflow, {"given": "1"})
    drive(plan, whole, Host(plan, whole))
    for moment in range(1, len(whole.calls)):
        journal = FakeRecorder(plan.workflow, {"given": "1"})
        host = Host(plan, journal)
        journal.crash_after = moment
        with pytest.raises(CrashError):
            drive(plan, journal, host)
        complete = {name: len(host.attempts[name]) for name in _completed(journal)}
        check_the_end(plan, journal, drive(plan, journal, host))
        assert {name: len(host.attempts[name]) for name in complete} == complete


@given(plans())
@settings(max_examples=30)
def test_a_run_that_crashes_after_every_record_ends_the_same(plan: Plan) -> None:
    journal = FakeRecorder(plan.workflow, {"given": "1"})
    host = Host(plan, journal)
    while journal.state.status is RunStatus.RUNNING:
        # Started, then at least one record of the next process; else none would ever come further.
        journal.crash_after = len(journal.calls) + 2
        try:
            state = drive(plan, journal, host)
        except CrashError:
            state = journal.load()
    check_the_end(plan, journal, state)


@given(plans(), st.integers(1, 12), st.sampled_from(["cancel", "stop", "interrupt"]))
@settings(max_examples=150)
def test_a_run_that_was_ended_early_and_resumed_ends_the_same(plan: Plan, moment: int, how: str) -> None:
    journal = FakeRecorder(plan.workflow, {"given": "1"})
    host = Host(plan, journal)

    async def main() -> None:
        state = journal.load()

        async def record(transitions: Sequence[Transition]) -> None:
            await journal.record(transitions)
            if len(journal.calls) != moment:
                return
            if how == "cancel":
                scheduler.cancel()
            elif how == "stop":
                scheduler.stop()
            else:
                task.cancel()

        scheduler = Scheduler(plan.workflow, state, host.execute, record)
        task = asyncio.create_task(scheduler.run())
        await asyncio.wait([task])
        assert host.is_idle()
        if not task.cancelled():
            task.result()
        in_progress = {StepStatus.RUNNING, StepStatus.WAITING_FOR_WORKER}
        if how == "cancel":
            assert state.status is not RunStatus.RUNNING
            assert all(step.status is not StepStatus.PENDING for step in state.steps.values())
        if state.status is not RunStatus.RUNNING:
            assert not any(step.status in in_progress for step in state.steps.values())

    run_in_virtual_time(main())
    if journal.state.status is RunStatus.CANCELLED:
        state = journal.load()
        run_in_virtual_time(journal.record(prepare_resume(plan.workflow, state)))
        assert state == journal.state
    if journal.state.status is RunStatus.RUNNING:
        check_resumed(plan, journal, host)


def check_resumed(plan: Plan, journal: FakeRecorder, host: Host) -> None:
    """A step that starts over has its failures forgotten, so it may fail as often again: only the end is the same."""
    complete = {name: len(host.attempts[name]) for name in _completed(journal)}
    check_the_end(plan, journal, drive(plan, journal, host))
    assert {name: len(host.attempts[name]) for name in complete} == complete


def _completed(journal: FakeRecorder) -> list[str]:
    return [name for name, step in journal.state.steps.items() if step.status is StepStatus.COMPLETED]
