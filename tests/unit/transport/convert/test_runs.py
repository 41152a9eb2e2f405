"""Runs and their events as messages."""

from __future__ import annotations

import pytest

from headwater._workflow.result import to_result
from headwater.v1 import workflow_pb2
from headwater_server.domain.errors import Reason
from headwater_server.domain.failure import Failure
from headwater_server.domain.limits import MAX_MESSAGE_BYTES
from headwater_server.domain.workflow import (
    EventType,
    RunEvent,
    RunState,
    RunStatus,
    SkipReason,
    Step,
    StepState,
    StepStatus,
    Workflow,
)
from headwater_server.transport.convert.run_events import run_event
from headwater_server.transport.convert.runs import workflow_run
from headwater_server.transport.services.workflow import _page
from headwater_server.workflows.engine.run_calls import RunView
from headwater_server.workflows.journal.base import RunInfo, RunSummary

FAILURE = Failure(Reason.WORKER_LOST, "lost")


def view(*steps: StepState) -> RunView:
    info = RunInfo("run_1", Workflow("w", tuple(Step(step.name, action="x") for step in steps)), "", "", "f", 1.0)
    return RunView(info, RunState({step.name: step for step in steps}), 1, 0.0)


@pytest.mark.parametrize("kind", EventType)
def test_every_type_of_event_has_its_message(kind: EventType) -> None:
    message = run_event("run_1", RunEvent(kind, sequence=3, create_time=1.5))
    assert (message.WhichOneof("event"), message.run_id, message.sequence) == (kind.value, "run_1", 3)
    assert message.create_time.ToMilliseconds() == 1500


def test_the_contract_has_no_event_that_the_server_does_not_know() -> None:
    fields = workflow_pb2.WorkflowEvent.DESCRIPTOR.oneofs_by_name["event"].fields
    assert {field.name for field in fields} == set(EventType)


def test_an_event_says_why() -> None:
    skipped = run_event(
        "r", RunEvent(EventType.STEP_SKIPPED, skip_reason=SkipReason.DEPENDENCY_FAILED, because_of=("a", "b"))
    ).step_skipped
    assert (skipped.reason, list(skipped.because_of)) == (workflow_pb2.SKIP_REASON_DEPENDENCY_FAILED, ["a", "b"])
    event = RunEvent(EventType.RUN_FINISHED, run_status=RunStatus.FAILED, failure=FAILURE, failed_steps=("a",))
    finished = run_event("r", event).run_finished
    assert finished.status == workflow_pb2.WORKFLOW_RUN_STATUS_FAILED
    assert (finished.failure.message, list(finished.failed_steps)) == ("lost", ["a"])
    warning = run_event("r", RunEvent(EventType.RUN_WARNING, message="m", context_key="k")).run_warning
    assert (warning.message, warning.context_key) == ("m", "k")
    chunk = run_event("r", RunEvent(EventType.STEP_CHUNK, content="c", thinking="t", omitted=2**40)).step_chunk
    assert (chunk.content, chunk.thinking, chunk.omitted_characters) == ("c", "t", 2**31 - 1)


def test_a_run_that_fits_into_a_message_is_complete() -> None:
    failed = StepState("a", StepStatus.FAILED, 1, 1, failure=Failure(Reason.STEP_FAILED, "m" * 1000, cause=FAILURE))
    (step,) = workflow_run(view(failed)).steps
    assert (len(step.failure.message), step.failure.cause.message) == (1000, "lost")


def test_a_run_with_many_long_failures_still_fits_into_a_message() -> None:
    failure = Failure(Reason.STEP_FAILED, "é" * 1000, cause=Failure(Reason.STEP_FAILED, "é" * 1000, cause=FAILURE))
    failed = [StepState(f"f{i}", StepStatus.FAILED, 1, 1, failure=failure) for i in range(1_000)]
    names = tuple("n" * 250 + str(i) for i in range(100))
    skipped = [
        StepState(
            f"s{i}",
            StepStatus.SKIPPED,
            skip_reason=SkipReason.DEPENDENCY_FAILED,
            skipped_because_of=names,
        )
        for i in range(1_000)
    ]
    message = workflow_run(view(*failed, *skipped))
    assert message.ByteSize() <= MAX_MESSAGE_BYTES
    assert {step.failure.reason for step in message.steps[:1_000]} == {20}
    assert all(step.failure.message for step in message.steps[:1_000])
    assert all(step.skip_reason == workflow_pb2.SKIP_REASON_DEPENDENCY_FAILED for step in message.steps[1_000:])


def test_a_run_at_its_limits_fits_into_a_message_without_saying_a_result_twice() -> None:
    results = {f"s{i}": f'"{"x" * 13_000}"' for i in range(100)}
    run = view(*(StepState(name, StepStatus.COMPLETED, 1, result=result) for name, result in results.items()))
    run.state.context.update({f"{name}_result": result for name, result in results.items()}, big=f'"{"y" * 1_000_000}"')
    message = workflow_run(run)
    assert message.ByteSize() <= MAX_MESSAGE_BYTES
    context = to_result(message).context
    assert (len(context), context["s99_result"]) == (101, "x" * 13_000)


def test_a_page_of_runs_ends_where_its_message_is_full() -> None:
    names = tuple(str(i) + "é" * 250 for i in range(100))
    found = [
        RunSummary(position, f"run_{position}", "w", "", RunStatus.FAILED, FAILURE, names, 1.0, 2.0)
        for position in range(1_000, 0, -1)
    ]
    page = _page(found, 1_000)
    assert MAX_MESSAGE_BYTES * 0.9 < page.ByteSize() <= MAX_MESSAGE_BYTES
    assert page.next_page_token
    assert not _page(found[:10], 10).next_page_token
    assert _page(found[:11], 10).next_page_token
