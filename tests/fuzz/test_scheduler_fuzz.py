"""Any workflow, with any outcomes, ended at any moment: the run ends as a simple model says, and no step runs twice."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater_server.domain.errors import Reason
from headwater_server.domain.failure import AttemptLostError, Failure, StepError
from headwater_server.domain.workflow import (
    ENDED_STEP,
    Outcome,
    RetryPolicy,
    RunIf,
    RunState,
    RunStatus,
    SkipReason,
    Step,
    StepState,
    StepStatus,
    Transition,
    Workflow,
)
from headwater_server.workflows.engine.scheduler import Scheduler, prepare_resume
from tests.support.runs.expressions import decide
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
                run_if=draw(st.sampled_from([None, None, *RunIf])) if depends_on else None,
                retry_policy=RetryPolicy(max_attempts=draw(st.integers(1, 3))),
                exclusive=draw(st.sampled_from([False, False, False, True])),
            )
        )
    order = draw(st.permutations(steps))
    tries = st.lists(st.sampled_from(["retry", "raise", "fatal", "retry"]), max_size=3)
    return Plan(
        Workflow("w", tuple(order)),
        {step.name: (*draw(tries), draw(st.sampled_from(["0", "1"]))) for step in steps},
        {step.name: draw(st.sampled_from([0.0, 0.0, 0.5, 1.0, 7.0])) for step in steps},
    )


def expected(plan: Plan, lost: Collection[str] = ()) -> RunState:
    """The model: one step after the other, each after those it depends on.

    Args:
        plan: the outcomes of the attempts.
        lost: steps that are at most once, and ran when a crash came.
    """
    steps = {step.name: StepState(step.name) for step in plan.workflow.steps}
    context = {"given": "1"}
    for step in sorted(plan.workflow.steps, key=lambda step: step.name):  # s0, s1, ...: dependencies come first
        state = steps[step.name]
        key = step.condition.removeprefix("context.").removesuffix(" == 1")
        reason, names = _skip(step, [steps[name] for name in step.depends_on])
        if reason is not None:
            state.status, state.skip_reason = StepStatus.SKIPPED, reason
            state.skipped_because_of = tuple(other.name for other in plan.workflow.steps if other.name in names)
        elif step.name in lost:
            state.status = StepStatus.FAILED
        elif step.condition == "false" or context.get(key) == "0":
            state.status, state.skip_reason = StepStatus.SKIPPED, SkipReason.CONDITION_FALSE
        elif step.condition.startswith("context.") and key not in context:
            state.status = StepStatus.FAILED
        else:
            _run_alone(plan, step, state, context)
    failed_steps = tuple(step.name for step in plan.workflow.steps if steps[step.name].status is StepStatus.FAILED)
    status = RunStatus.FAILED if failed_steps else RunStatus.COMPLETED
    return RunState(steps, context, status, failed_steps=failed_steps)


def _skip(step: Step, dependencies: Sequence[StepState]) -> tuple[SkipReason | None, set[str]]:
    """Why the rule of a step skips it, and because of which steps; None when it may run."""
    missed = [state for state in dependencies if state.status is not StepStatus.COMPLETED]
    failed = {name for state in missed for name in _failed_names(state)}
    skipped = SkipReason.DEPENDENCY_FAILED if failed else SkipReason.DEPENDENCY_SKIPPED
    because_of = failed or {state.name for state in missed}
    may_run, reason, names = {
        None: (not missed, skipped, because_of),
        RunIf.ALL_SUCCEEDED: (not missed, skipped, because_of),
        RunIf.NONE_FAILED: (not failed and len(missed) < len(dependencies), skipped, because_of),
        RunIf.ALL_DONE: (True, skipped, because_of),
        RunIf.ANY_FAILED: (bool(failed), SkipReason.NOTHING_FAILED, set[str]()),
    }[step.run_if if dependencies else None]
    return (None, set()) if may_run else (reason, names)


def _failed_names(state: StepState) -> tuple[str, ...]:
    if state.status is StepStatus.FAILED:
        return (state.name,)
    return state.skipped_because_of if state.skip_reason is SkipReason.DEPENDENCY_FAILED else ()


def _run_alone(plan: Plan, step: Step, state: StepState, context: dict[str, str]) -> None:
    while True:
        outcome = plan.outcome(step.name, state.failures)
        if outcome in {"0", "1"}:
            state.status, state.result = StepStatus.COMPLETED, outcome
            context[f"{step.name}_result"] = outcome
            return
        state.failures += 1
        if outcome == "fatal" or state.failures >= step.retry_policy.max_attempts:
            state.status = StepStatus.FAILED
            return


class Host:
    """Executes attempts as planned, and watches over what the scheduler promises.

    Attributes:
        attempts: the numbers of the attempts of each step.
        lost: the attempts that ran when the process before ended; none of their workers comes back.
    """

    def __init__(self, plan: Plan, journal: FakeRecorder) -> None:
        self._plan = plan
        self._journal = journal
        self._running: list[Step] = []
        self.attempts: dict[str, list[int]] = {step.name: [] for step in plan.workflow.steps}
        self.lost: set[tuple[str, int]] = set()

    async def execute(
        self, step: Step, attempt: int, context: Mapping[str, str], results: Mapping[str, str]
    ) -> Outcome:
        if (step.name, attempt) in self.lost:
            raise AttemptLostError(Failure(Reason.WORKER_LOST, "its worker has not come back"))
        recorded = self._journal.state.steps
        assert (recorded[step.name].status, recorded[step.name].attempt) == (StepStatus.RUNNING, attempt)
        assert attempt > max(self.attempts[step.name], default=0)
        assert all(recorded[name].status in ENDED_STEP for name in step.depends_on)
        assert _skip(step, [recorded[name] for name in step.depends_on])[0] is None
        assert results == {name: result for name in step.depends_on if (result := recorded[name].result)}
        assert all(context[f"{name}_result"] == result for name, result in results.items())
        assert not self._running or not any(other.exclusive for other in [step, *self._running])
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
            raise StepError(Failure(Reason.STEP_FAILED, "no", non_retryable=outcome == "fatal"))
        return Outcome(outcome)

    def is_idle(self) -> bool:
        return not self._running


def check_the_end(plan: Plan, journal: FakeRecorder, state: RunState, lost: Collection[str] = ()) -> None:
    model = expected(plan, lost)
    found = journal.state
    assert (found.status, found.context, found.failed_steps) == (model.status, model.context, model.failed_steps)
    if model.failed_steps:
        assert found.failure is not None
        assert found.failure.cause == found.steps[model.failed_steps[0]].failure
    for name, step in model.steps.items():
        recorded = found.steps[name]
        assert (recorded.status, recorded.result) == (step.status, step.result), name
        assert (recorded.skip_reason, recorded.skipped_because_of) == (step.skip_reason, step.skipped_because_of), name
        assert (recorded.failure is not None) == (step.status is StepStatus.FAILED), name
        assert recorded.failures == step.failures or step.status is StepStatus.SKIPPED
    assert state == found


def lost_steps(plan: Plan, journal: FakeRecorder) -> set[str]:
    """The steps that are at most once and ran when the process ended: whether they ran to their end is unknown."""
    running = {name for name, step in journal.state.steps.items() if step.status is StepStatus.RUNNING}
    return {step.name for step in plan.workflow.steps if step.retry_policy.is_at_most_once and step.name in running}


def check_at_most_once(plan: Plan, host: Host) -> None:
    """No step that is at most once was tried twice."""
    for step in plan.workflow.steps:
        assert not step.retry_policy.is_at_most_once or len(host.attempts[step.name]) <= 1, step.name


def drive(plan: Plan, journal: FakeRecorder, host: Host) -> RunState:
    """Runs what the journal has in a new process."""

    async def main() -> RunState:
        state = journal.load()
        host.lost = {(s.name, s.attempt) for s in state.steps.values() if s.status is StepStatus.RUNNING}
        try:
            await Scheduler(plan.workflow, state, host.execute, journal.record, decide).run()
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
        lost = lost_steps(plan, journal)
        check_the_end(plan, journal, drive(plan, journal, host), lost)
        check_at_most_once(plan, host)
        assert {name: len(host.attempts[name]) for name in complete} == complete


@given(plans())
@settings(max_examples=30)
def test_a_run_that_crashes_after_every_record_ends_the_same(plan: Plan) -> None:
    journal = FakeRecorder(plan.workflow, {"given": "1"})
    host = Host(plan, journal)
    lost: set[str] = set()
    while journal.state.status is RunStatus.RUNNING:
        # The attempt before is lost, another one started, then at least one more record of the next process; else none
        # would ever come further.
        journal.crash_after = len(journal.calls) + 3
        try:
            state = drive(plan, journal, host)
        except CrashError:
            state = journal.load()
            lost |= lost_steps(plan, journal)
    check_the_end(plan, journal, state, lost)
    check_at_most_once(plan, host)


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

        scheduler = Scheduler(plan.workflow, state, host.execute, record, decide)
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
    lost = lost_steps(plan, journal)
    check_the_end(plan, journal, drive(plan, journal, host), lost)
    assert {name: len(host.attempts[name]) for name in complete} == complete


def _completed(journal: FakeRecorder) -> list[str]:
    return [name for name, step in journal.state.steps.items() if step.status is StepStatus.COMPLETED]
