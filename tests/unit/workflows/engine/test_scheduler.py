from __future__ import annotations

import ast
import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from headwater_server.domain.errors import Reason
from headwater_server.domain.failure import AttemptLostError, Failure, StepError
from headwater_server.domain.workflow import (
    EventType,
    Outcome,
    RetryPolicy,
    RunState,
    RunStatus,
    SkipReason,
    Step,
    StepStatus,
    Workflow,
)
from headwater_server.workflows.engine import context, progress, scheduler
from headwater_server.workflows.engine.scheduler import Scheduler, prepare_resume
from tests.support.runs.expressions import decide
from tests.support.runs.runs import FakeRecorder
from tests.support.virtual_time import run_in_virtual_time

Handler = Callable[[Step, int, Mapping[str, str]], Awaitable[Outcome]]


async def one(step: Step, attempt: int, values: Mapping[str, str]) -> Outcome:
    return Outcome("1")


def failing(message: str, reason: Reason = Reason.STEP_FAILED, **facts: Any) -> StepError:
    return StepError(Failure(reason, message, **facts))


def why(failure: Failure | None) -> str:
    assert failure is not None
    return failure.message


def workflow(*steps: Step) -> Workflow:
    return Workflow("w", steps)


def run(
    definition: Workflow,
    handler: Handler = one,
    values: dict[str, str] | None = None,
    *,
    journal: FakeRecorder | None = None,
    during: Callable[[Scheduler], Awaitable[None]] | None = None,
) -> FakeRecorder:
    journal = journal or FakeRecorder(definition, values)

    async def execute(step: Step, attempt: int, values: Mapping[str, str], results: Mapping[str, str]) -> Outcome:
        return await handler(step, attempt, values)

    async def main() -> None:
        scheduler = Scheduler(definition, journal.load(), execute, journal.record, decide)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(scheduler.run())
            if during is not None:
                tasks.create_task(_soon(during(scheduler)))

    run_in_virtual_time(main())
    return journal


async def _soon(work: Awaitable[None]) -> None:
    await work


def fails(*names: str, retryable: bool = False) -> Handler:
    async def handler(step: Step, attempt: int, values: Mapping[str, str]) -> Outcome:
        if step.name in names:
            raise failing("no", non_retryable=not retryable)
        return Outcome("1")

    return handler


def test_a_chain_takes_one_record_a_step_and_one_to_begin() -> None:
    journal = run(workflow(Step("a"), Step("b", depends_on=("a",)), Step("c", depends_on=("b",))))
    assert journal.events() == [
        "step_started a",
        "step_completed a, step_started b",
        "step_completed b, step_started c",
        "step_completed c, run_finished",
    ]


def test_an_attempt_that_was_lost_without_fault_of_the_step_counts_not_and_the_next_begins_at_once() -> None:
    lost = AttemptLostError(Failure(Reason.WORKER_LOST, "handed back"))

    async def handler(step: Step, attempt: int, values: Mapping[str, str]) -> Outcome:
        if attempt <= 3:
            raise lost
        raise failing("no")

    journal = run(workflow(Step("a", retry_policy=RetryPolicy(max_attempts=2))), handler)
    step = journal.load().steps["a"]
    assert (step.status, step.attempt, step.failures) == (StepStatus.FAILED, 5, 2)


def test_a_step_that_is_at_most_once_fails_when_its_attempt_is_handed_back() -> None:
    async def handler(step: Step, attempt: int, values: Mapping[str, str]) -> Outcome:
        raise AttemptLostError(Failure(Reason.WORKER_LOST, "handed back"))

    journal = run(workflow(Step("a", retry_policy=RetryPolicy(max_attempts=1))), handler)
    step = journal.load().steps["a"]
    assert (step.status, step.attempt) == (StepStatus.FAILED, 1)
    assert "at most once" in why(step.failure)


def test_what_happens_while_a_record_is_written_goes_into_the_next_one() -> None:
    journal = run(workflow(Step("a"), Step("b"), Step("c", depends_on=("a", "b"))))
    assert journal.events() == [
        "step_started a, step_started b",
        "step_completed a, step_completed b, step_started c",
        "step_completed c, run_finished",
    ]


def test_nobody_sees_in_the_state_what_is_not_recorded() -> None:
    definition = workflow(Step("a"))
    state = FakeRecorder(definition).load()
    seen: list[tuple[StepStatus, RunStatus, dict[str, str]]] = []

    async def record(transitions: object) -> None:
        seen.append((state.steps["a"].status, state.status, dict(state.context)))

    async def execute(*arguments: object) -> Outcome:
        return Outcome("1")

    asyncio.run(Scheduler(definition, state, execute, record, decide).run())
    assert seen == [(StepStatus.PENDING, RunStatus.RUNNING, {}), (StepStatus.RUNNING, RunStatus.RUNNING, {})]
    assert (state.steps["a"].status, state.status) == (StepStatus.COMPLETED, RunStatus.COMPLETED)
    assert state.context == {"a_result": "1"}


def test_a_retryable_failure_is_tried_again_after_delays_that_double() -> None:
    started: list[float] = []

    async def handler(step: Step, attempt: int, values: Mapping[str, str]) -> Outcome:
        started.append(round(asyncio.get_running_loop().time(), 1))
        raise failing("busy")

    journal = run(workflow(Step("a")), handler)
    assert started == [0.0, 0.2, 0.6, 1.4]
    retries = [event for call in journal.calls for event in call if event.type is EventType.STEP_RETRYING]
    assert [(event.attempt, why(event.failure), event.delay_seconds) for event in retries] == [
        (1, "busy", 0.2),
        (2, "busy", 0.4),
        (3, "busy", 0.8),
    ]
    assert why(journal.state.failure) == "step `a` failed: busy"


def delays(journal: FakeRecorder) -> list[float]:
    return [event.delay_seconds for call in journal.calls for event in call if event.type is EventType.STEP_RETRYING]


def test_a_retry_policy_says_how_long_each_delay_is_and_how_many_attempts_there_are() -> None:
    policy = RetryPolicy(initial_delay_seconds=1, backoff=3, max_delay_seconds=10, max_attempts=6)
    journal = run(workflow(Step("a", retry_policy=policy)), fails("a", retryable=True))
    assert delays(journal) == [1, 3, 9, 10, 10]
    assert journal.state.steps["a"].attempt == 6


def test_the_longest_policy_that_is_allowed_overflows_nothing() -> None:
    policy = RetryPolicy(initial_delay_seconds=86_400, backoff=100, max_delay_seconds=86_400, max_attempts=101)
    journal = run(workflow(Step("a", retry_policy=policy)), fails("a", retryable=True))
    assert delays(journal) == [86_400] * 100


def test_the_next_attempt_waits_at_least_as_long_as_the_failure_asks() -> None:
    async def handler(step: Step, attempt: int, values: Mapping[str, str]) -> Outcome:
        raise failing("busy", Reason.PROVIDER_RATE_LIMITED, retry_delay_seconds=0.3)

    assert delays(run(workflow(Step("a")), handler)) == [0.3, 0.4, 0.8]


def test_delays_are_spread_as_the_caller_wants_and_one_that_the_failure_asks_for_is_not() -> None:
    definition = workflow(Step("a"))
    recorder = FakeRecorder(definition)

    async def execute(step: Step, attempt: int, values: Mapping[str, str], results: Mapping[str, str]) -> Outcome:
        raise failing("no", retry_delay_seconds=4.0 if attempt == 1 else None)

    def halved(seconds: float) -> float:
        return seconds / 2

    run_in_virtual_time(Scheduler(definition, recorder.load(), execute, recorder.record, decide, halved).run())
    assert delays(recorder) == [4.0, 0.2, 0.4]


def test_a_crash_in_a_delay_that_the_failure_asked_for_does_not_shorten_it() -> None:
    definition = workflow(Step("a"))
    journal = FakeRecorder(definition)
    state = journal.state.steps["a"]
    state.status, state.attempt = StepStatus.RETRYING, 1
    state.failure = Failure(Reason.PROVIDER_RATE_LIMITED, "slow down", retry_delay_seconds=30.0)
    times = []

    async def handler(step: Step, attempt: int, values: Mapping[str, str]) -> Outcome:
        times.append(asyncio.get_running_loop().time())
        return Outcome("1")

    run(definition, handler, journal=journal)
    assert times[0] >= 30.0


def test_a_lost_attempt_of_a_step_that_is_at_most_once_fails_it() -> None:
    async def handler(step: Step, attempt: int, values: Mapping[str, str]) -> Outcome:
        raise failing("its worker was lost", Reason.WORKER_LOST)

    once, more = RetryPolicy(max_attempts=1), RetryPolicy(max_attempts=2)
    journal = run(workflow(Step("once", retry_policy=once), Step("more", retry_policy=more)), handler)
    assert [step.attempt for step in journal.state.steps.values()] == [1, 2]
    failure = journal.state.steps["once"].failure
    assert failure is not None
    assert (failure.reason, failure.non_retryable) == (Reason.WORKER_LOST, True)
    assert failure.message == (
        "its worker was lost; whether the attempt ran is unknown, and the step is at most once (max_attempts is 1), "
        "so it is not tried again"
    )


def test_a_step_that_is_at_most_once_and_ran_when_a_crash_came_fails_and_skips_what_depends_on_it() -> None:
    once = RetryPolicy(max_attempts=1)
    definition = workflow(
        Step("ran", retry_policy=once),
        Step("waited", retry_policy=once),
        Step("new", retry_policy=once),
        Step("after", depends_on=("ran", "new")),
    )
    journal = FakeRecorder(definition)
    for name, status in (("ran", StepStatus.RUNNING), ("waited", StepStatus.WAITING_FOR_WORKER)):
        journal.state.steps[name].attempt, journal.state.steps[name].status = 1, status
    run(definition, journal=journal)
    steps = journal.state.steps
    assert [step.status.value for step in steps.values()] == ["failed", "completed", "completed", "skipped"]
    assert [step.attempt for step in steps.values()] == [1, 2, 1, 0]
    failure = steps["ran"].failure
    assert failure is not None
    assert failure.reason is Reason.INTERNAL
    assert failure.message.startswith("the server stopped during the attempt; whether the attempt ran is unknown")
    assert journal.state.failed_steps == ("ran",)


def test_no_delay_is_longer_than_a_minute() -> None:
    journal = run(workflow(Step("a", retry_policy=RetryPolicy(max_attempts=13))), fails("a", retryable=True))
    assert delays(journal)[7:10] == [25.6, 51.2, 60.0]
    assert delays(journal)[-1] == 60.0


def test_any_other_exception_is_a_retryable_failure_with_its_type() -> None:
    async def handler(step: Step, attempt: int, values: Mapping[str, str]) -> Outcome:
        raise ZeroDivisionError("by zero")

    journal = run(workflow(Step("a", retry_policy=RetryPolicy(max_attempts=2))), handler)
    assert journal.state.steps["a"].attempt == 2
    assert journal.state.steps["a"].failure == Failure(Reason.INTERNAL, "by zero", type="ZeroDivisionError")
    assert why(journal.state.failure) == "step `a` failed: ZeroDivisionError: by zero"


def test_an_attempt_that_cancels_itself_has_failed() -> None:
    async def handler(step: Step, attempt: int, values: Mapping[str, str]) -> Outcome:
        raise asyncio.CancelledError

    journal = run(workflow(Step("a", retry_policy=RetryPolicy(max_attempts=1))), handler)
    assert why(journal.state.steps["a"].failure) == "the attempt was cancelled, but the run was not"


def test_a_failure_skips_what_depends_on_it_through_any_distance_and_nothing_else() -> None:
    journal = run(
        workflow(
            Step("a"),
            Step("b"),
            Step("c", depends_on=("a", "b")),
            Step("d", depends_on=("c", "e")),
            Step("e"),
            Step("f", depends_on=("e",)),
        ),
        fails("a", "b"),
    )
    steps = journal.state.steps
    assert [steps[name].status.value for name in "abcdef"] == [
        *("failed", "failed", "skipped", "skipped", "completed", "completed")
    ]
    for name in "cd":
        assert steps[name].skip_reason is SkipReason.DEPENDENCY_FAILED
        assert steps[name].skipped_because_of == ("a", "b")
    assert journal.state.failed_steps == ("a", "b")
    assert journal.state.failure is not None
    assert journal.state.failure.cause == steps["a"].failure
    assert why(journal.state.failure) == "2 steps failed: `a`, `b`"


def test_a_false_condition_skips_and_fails_nothing() -> None:
    journal = run(workflow(Step("a", condition="false"), Step("b", depends_on=("a",))))
    steps = journal.state.steps
    assert {step.status for step in steps.values()} == {StepStatus.SKIPPED}
    assert (steps["a"].skip_reason, steps["a"].skipped_because_of) == (SkipReason.CONDITION_FALSE, ())
    assert (steps["b"].skip_reason, steps["b"].skipped_because_of) == (SkipReason.DEPENDENCY_SKIPPED, ("a",))
    assert journal.state.status is RunStatus.COMPLETED


def test_a_condition_sees_what_steps_before_have_set() -> None:
    async def handler(step: Step, attempt: int, values: Mapping[str, str]) -> Outcome:
        return Outcome("1", {"score": "0.5"})

    definition = workflow(Step("a"), Step("b", depends_on=("a",), condition="context.score < 0.8"))
    assert run(definition, handler).state.steps["b"].status is StepStatus.COMPLETED


def test_a_condition_on_a_missing_key_fails_the_step_without_an_attempt() -> None:
    journal = run(workflow(Step("a", condition="context.score < 0.8")))
    step = journal.state.steps["a"]
    assert (step.status, step.attempt) == (StepStatus.FAILED, 0)
    assert "no key `score`; has(context.score) asks" in why(step.failure)


def test_an_exclusive_step_is_alone_even_between_its_attempts() -> None:
    running: list[str] = []
    seen: list[tuple[str, ...]] = []

    async def handler(step: Step, attempt: int, values: Mapping[str, str]) -> Outcome:
        running.append(step.name)
        await asyncio.sleep(1)
        seen.append(tuple(running))
        running.remove(step.name)
        if step.name == "alone" and attempt == 1:
            raise failing("again")
        return Outcome("1")

    journal = run(workflow(Step("a"), Step("alone", exclusive=True), Step("b"), Step("c")), handler)
    assert seen == [("a",), ("alone",), ("alone",), ("b", "c"), ("c",)]
    assert journal.state.status is RunStatus.COMPLETED


def test_the_outcome_is_merged_and_the_result_has_its_own_key() -> None:
    async def handler(step: Step, attempt: int, values: Mapping[str, str]) -> Outcome:
        return {
            "a": Outcome('"text"', {"n": "3.0"}, ("old", "never there")),
            "b": Outcome('"text"', {"b_result": "7"}),
            "c": Outcome('"text"', {}, ("c_result",)),
        }[step.name]

    journal = run(workflow(Step("a"), Step("b"), Step("c")), handler, {"old": "1", "kept": "2"})
    assert journal.state.context == {"kept": "2", "n": "3.0", "a_result": '"text"', "b_result": "7"}
    assert journal.state.steps["c"].result == '"text"'


@pytest.mark.parametrize(("second", "warned"), [("2", True), ("1", False)])
def test_two_steps_that_set_one_key_differently_at_the_same_time_raise_a_warning(second: str, warned: bool) -> None:
    async def handler(step: Step, attempt: int, values: Mapping[str, str]) -> Outcome:
        await asyncio.sleep(1 if step.name == "a" else 2)
        return Outcome("0", {"key": "1" if step.name == "a" else second})

    journal = run(workflow(Step("a"), Step("b")), handler)
    warnings = [event for call in journal.calls for event in call if event.type is EventType.RUN_WARNING]
    assert [(event.step, event.context_key) for event in warnings] == ([("b", "key")] if warned else [])
    assert journal.state.context["key"] == second


def test_steps_that_set_one_key_one_after_the_other_raise_no_warning() -> None:
    async def handler(step: Step, attempt: int, values: Mapping[str, str]) -> Outcome:
        return Outcome("0", {"key": f'"{step.name}"'})

    journal = run(workflow(Step("a"), Step("b", depends_on=("a",))), handler)
    assert not any(event.type is EventType.RUN_WARNING for call in journal.calls for event in call)


def test_a_context_beyond_its_limit_fails_the_step_and_changes_nothing() -> None:
    async def handler(step: Step, attempt: int, values: Mapping[str, str]) -> Outcome:
        return Outcome("0", {"big": "1" * context.MAX_CONTEXT_BYTES})

    journal = run(workflow(Step("a")), handler)
    assert journal.state.steps["a"].attempt == 1
    assert journal.state.context == {}
    assert "the context (largest of the changed keys: `big`) would have 1,048,579 bytes" in why(journal.state.failure)


def test_the_limit_of_a_context_is_in_bytes_so_that_a_run_fits_into_one_message() -> None:
    async def handler(step: Step, attempt: int, values: Mapping[str, str]) -> Outcome:
        return Outcome("0", {"big": f'"{"文" * 400_000}"'})

    journal = run(workflow(Step("a")), handler)
    assert "would have 1,200,005 bytes" in why(journal.state.failure)


def test_results_do_not_count_as_context_too() -> None:
    async def handler(step: Step, attempt: int, values: Mapping[str, str]) -> Outcome:
        return Outcome(f'"{"x" * 4_096}"')

    journal = run(workflow(*(Step(f"p{number}") for number in range(300))), handler, {"big": "1" * 1_000_000})
    assert journal.state.status is RunStatus.COMPLETED


def test_all_results_together_have_a_limit() -> None:
    async def handler(step: Step, attempt: int, values: Mapping[str, str]) -> Outcome:
        return Outcome("1" * 700_000, {}, (f"{step.name}_result",))

    journal = run(workflow(Step("a"), Step("b", depends_on=("a",))), handler)
    assert journal.state.steps["a"].status is StepStatus.COMPLETED
    assert "the results of all steps (700,000 bytes are this step's) would have 1,400,000 bytes" in why(
        journal.state.steps["b"].failure
    )


def test_cancelling_interrupts_what_runs_and_waits_for_its_cleanup() -> None:
    cleaned: list[str] = []

    async def handler(step: Step, attempt: int, values: Mapping[str, str]) -> Outcome:
        if step.name == "busy":
            raise failing("busy")
        try:
            await asyncio.sleep(1_000)
        finally:
            await asyncio.sleep(5)
            cleaned.append(step.name)
        return Outcome("1")

    async def during(scheduler: Scheduler) -> None:
        await asyncio.sleep(0.1)
        scheduler.cancel()

    journal = run(workflow(Step("a"), Step("busy"), Step("b", depends_on=("a",))), handler, during=during)
    assert cleaned == ["a"]
    assert {step.status for step in journal.state.steps.values()} == {StepStatus.CANCELLED}
    assert journal.state.status is RunStatus.CANCELLED
    assert journal.events()[-1] == "step_cancelled a, step_cancelled busy, step_cancelled b, run_finished"


def test_an_attempt_that_ends_in_spite_of_its_cancelling_keeps_its_result() -> None:
    async def handler(step: Step, attempt: int, values: Mapping[str, str]) -> Outcome:
        try:
            await asyncio.sleep(1_000)
        except asyncio.CancelledError:
            return Outcome('"late"')
        raise AssertionError

    async def during(scheduler: Scheduler) -> None:
        await asyncio.sleep(0.1)
        scheduler.cancel()

    journal = run(workflow(Step("a"), Step("b", depends_on=("a",))), handler, during=during)
    assert journal.events()[-1] == "step_completed a, step_cancelled b, run_finished"
    assert journal.state.status is RunStatus.CANCELLED


def test_a_step_whose_attempt_fails_while_it_is_cancelled_is_cancelled() -> None:
    async def handler(step: Step, attempt: int, values: Mapping[str, str]) -> Outcome:
        try:
            await asyncio.sleep(1_000)
        finally:
            raise failing("cleanup failed", non_retryable=True)

    async def during(scheduler: Scheduler) -> None:
        await asyncio.sleep(0.1)
        scheduler.cancel()

    journal = run(workflow(Step("a")), handler, during=during)
    assert journal.events()[-1] == "step_cancelled a, run_finished"
    assert journal.state.steps["a"].failures == 0


def test_a_failure_at_the_moment_of_the_cancelling_is_not_tried_again() -> None:
    async def handler(step: Step, attempt: int, values: Mapping[str, str]) -> Outcome:
        await asyncio.sleep(1)
        raise failing("busy")

    async def during(scheduler: Scheduler) -> None:
        await asyncio.sleep(1.001)  # the record before took 0.001 seconds
        scheduler.cancel()

    journal = run(workflow(Step("a")), handler, during=during)
    assert journal.events() == ["step_started a", "step_cancelled a, run_finished"]


def test_a_step_sees_neither_in_context_nor_condition_what_one_before_has_deleted() -> None:
    seen: list[dict[str, str]] = []

    async def handler(step: Step, attempt: int, values: Mapping[str, str]) -> Outcome:
        seen.append(dict(values))
        return Outcome("1", {}, ("key",))

    definition = workflow(
        Step("a"), Step("b", depends_on=("a",)), Step("c", depends_on=("a",), condition="has(context.key)")
    )
    journal = run(definition, handler, {"key": "0"})
    assert seen == [{"key": "0"}, {"a_result": "1"}]
    assert journal.state.steps["c"].status is StepStatus.SKIPPED


def test_stopping_starts_nothing_more_and_loses_no_result() -> None:
    async def handler(step: Step, attempt: int, values: Mapping[str, str]) -> Outcome:
        if step.name == "busy":
            raise failing("busy")
        await asyncio.sleep(1)
        return Outcome("1")

    async def during(scheduler: Scheduler) -> None:
        await asyncio.sleep(0.1)
        scheduler.stop()

    definition = workflow(
        Step("a"), Step("busy", retry_policy=RetryPolicy(max_attempts=51)), Step("b", depends_on=("a",))
    )
    journal = run(definition, handler, during=during)
    steps = journal.state.steps
    assert [steps[name].status.value for name in ("a", "busy", "b")] == ["completed", "retrying", "pending"]
    assert journal.state.status is RunStatus.RUNNING


def test_what_a_crash_left_starts_over_with_the_next_attempt() -> None:
    definition = workflow(Step("running"), Step("waiting"), Step("retrying"), Step("done"))
    journal = FakeRecorder(definition)
    for name, step in journal.state.steps.items():
        step.attempt, step.failures = 2, 1
        step.status = {"running": StepStatus.RUNNING, "waiting": StepStatus.WAITING_FOR_WORKER}.get(
            name, StepStatus.RETRYING if name == "retrying" else StepStatus.COMPLETED
        )
    run(definition, journal=journal)
    assert journal.events()[0] == "step_started running, step_started waiting, step_started retrying"
    assert [step.attempt for step in journal.state.steps.values()] == [3, 3, 3, 2]
    assert [step.failures for step in journal.state.steps.values()] == [1, 1, 1, 1]


def test_a_failed_run_is_resumed_from_its_failed_steps() -> None:
    definition = workflow(
        Step("ok"), Step("bad"), Step("after", depends_on=("ok", "bad")), Step("off", condition="false")
    )
    journal = run(definition, fails("bad"))
    state: RunState = journal.load()
    (transition,) = prepare_resume(definition, state)
    assert transition.event.type is EventType.RUN_RESUMED
    assert [
        (step.name, step.status.value, step.skip_reason, step.failures, step.failure) for step in transition.also
    ] == [
        ("bad", "pending", None, 0, None),
        ("after", "pending", None, 0, None),
    ]
    assert state.steps["ok"].status is StepStatus.COMPLETED
    assert state.steps["off"].status is StepStatus.SKIPPED
    asyncio.run(journal.record([transition]))
    assert journal.state == state
    run(definition, journal=journal)
    assert journal.state.status is RunStatus.COMPLETED
    assert journal.state.steps["ok"].attempt == 1
    assert journal.state.steps["bad"].attempt == 2


def test_a_run_that_a_crash_left_keeps_its_failed_steps() -> None:
    definition = workflow(Step("bad"), Step("a"))
    journal = FakeRecorder(definition)
    journal.state.steps["bad"].status = StepStatus.FAILED
    (transition,) = prepare_resume(definition, journal.state)
    assert transition.also == ()
    assert journal.state.steps["bad"].status is StepStatus.FAILED


def test_a_record_that_fails_ends_the_attempts_and_is_raised() -> None:
    ended: list[str] = []

    async def handler(step: Step, attempt: int, values: Mapping[str, str]) -> Outcome:
        try:
            await asyncio.sleep(1 if step.name == "a" else 1_000)
        finally:
            ended.append(step.name)
        return Outcome("1")

    definition = workflow(Step("a"), Step("b"))
    journal = FakeRecorder(definition)
    journal.crash_after = 2
    with pytest.raises(ExceptionGroup):
        run(definition, handler, journal=journal)
    assert ended == ["a", "b"]


def test_a_thousand_steps_cost_no_more_than_their_edges() -> None:
    steps = [
        Step(f"s{i}", depends_on=tuple(f"s{j}" for j in range(i - 20 - i % 20, i - i % 20) if j >= 0))
        for i in range(1_000)
    ]
    journal = run(workflow(*steps))
    assert journal.state.status is RunStatus.COMPLETED
    assert len(journal.calls) == 51


@pytest.mark.parametrize("module", [scheduler, progress, context])
def test_the_scheduler_knows_no_clock_randomness_or_files(module: object) -> None:
    source = ast.parse(Path(str(getattr(module, "__file__", ""))).read_text("utf-8"))
    imported = {alias.name for node in ast.walk(source) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(source) if isinstance(node, ast.ImportFrom)}
    allowed = {"__future__", "asyncio", "heapq", "collections", "collections.abc", "dataclasses", "functools", "typing"}
    own = {
        "headwater_server.domain.errors",
        "headwater_server.domain.chunks",
        "headwater_server.domain.failure",
        "headwater_server.domain.workflow",
        "headwater_server.workflows.definition",
        "headwater_server.workflows.engine.context",
        "headwater_server.workflows.engine.failures",
        "headwater_server.workflows.engine.progress",
        "headwater_server.workflows.engine.skips",
    }
    assert imported <= allowed | own
