"""Results, events and pictures of runs."""

from __future__ import annotations

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from headwater._values.durations import to_duration
from headwater._values.failures import to_failure
from headwater._workflow.events import to_event
from headwater._workflow.mermaid import to_mermaid
from headwater._workflow.result import skipped_in_words, to_result, to_skip_reason
from headwater.exceptions import Failure, StepExecutionError, WorkflowError
from headwater.v1 import error_pb2, workflow_pb2
from headwater.workflow import SkipReason, StepStatus, Workflow, WorkflowEvent, WorkflowEventType
from tests.support.runs.events import event, failure

PB = workflow_pb2


def a_run(status: int, *steps: PB.StepRun, **fields) -> PB.WorkflowRun:
    facts = {
        "run_id": "run_1",
        "status": status,
        "workflow": PB.Workflow(name="w", id="w-1"),
        "workflow_name": "w",
        "context_json": '{"n": 3, "x": 3.0}',
        "create_time": Timestamp(seconds=100),
        "end_time": Timestamp(seconds=102, nanos=500_000_000),
    }
    return PB.WorkflowRun(steps=steps, **(facts | fields))


FINE = PB.StepRun(
    name="fine", status=PB.STEP_STATUS_COMPLETED, attempt=1, result_json='{"a": [1]}',
    start_time=Timestamp(seconds=100), end_time=Timestamp(seconds=101),
)  # fmt: skip
BROKEN = PB.StepRun(
    name="broken", status=PB.STEP_STATUS_FAILED, attempt=4, failure=failure("ValueError: no\nnumber", type="ValueError")
)
LEFT_OUT = PB.StepRun(
    name="left_out",
    status=PB.STEP_STATUS_SKIPPED,
    skip_reason="SKIP_REASON_DEPENDENCY_FAILED",
    skipped_because_of=["broken"],
)
WAITING = PB.StepRun(name="waiting", status=PB.STEP_STATUS_WAITING_FOR_WORKER, attempt=1, queue="fleet")


def test_a_completed_run():
    result = to_result(a_run(PB.WORKFLOW_RUN_STATUS_COMPLETED, FINE))
    assert (result.run_id, result.workflow_id, result.workflow_name) == ("run_1", "w-1", "w")
    assert result.status is StepStatus.COMPLETED
    assert result.status == "completed"
    assert result.successful
    assert result.duration == 2.5
    assert result.failed_steps == []
    assert repr(result.context) == "{'n': 3, 'x': 3.0}"
    step = result.get_step_result("fine")
    assert (step.name, step.status, step.result, step.error) == ("fine", "completed", {"a": [1]}, None)
    assert (step.duration, step.attempts) == (1.0, 1)
    assert result.get_step_result("other") is None
    assert result.raise_for_failure() is result


def test_a_failed_run_tells_and_raises_only_when_asked():
    result = to_result(
        a_run(
            PB.WORKFLOW_RUN_STATUS_FAILED,
            FINE,
            BROKEN,
            LEFT_OUT,
            failure=failure("step `broken` failed", cause=BROKEN.failure),
        )
    )
    assert (result.status, result.successful, result.failed_steps) == ("failed", False, ["broken"])
    assert result.error == "step `broken` failed"
    left_out = result.step_results["left_out"]
    assert (left_out.status, left_out.error, left_out.failure) == (StepStatus.SKIPPED, "`broken` failed", None)
    assert (left_out.skip_reason, left_out.skipped_because_of) == (SkipReason.DEPENDENCY_FAILED, ("broken",))
    assert result.failure.cause == result.step_results["broken"].failure
    with pytest.raises(StepExecutionError, match="step `broken` of run run_1 failed: ValueError") as caught:
        result.raise_for_failure()
    assert (caught.value.step, caught.value.run_id, caught.value.reason) == ("broken", "run_1", "STEP_FAILED")
    assert (caught.value.failure.type, caught.value.failure.non_retryable) == ("ValueError", False)


def test_a_failure_has_its_reason_its_provider_and_its_causes():
    message = failure(
        "too many requests", "PROVIDER_RATE_LIMITED", retry_delay=to_duration(1.5),
        provider=error_pb2.ProviderFailure(provider="openai", http_status=429),
        cause=failure("connection reset", type="OSError", non_retryable=True),
    )  # fmt: skip
    step = PB.StepRun(name="a", status=PB.STEP_STATUS_RETRYING, failure=message)
    found = to_result(a_run(PB.WORKFLOW_RUN_STATUS_RUNNING, step)).step_results["a"].failure
    assert found == Failure(
        "PROVIDER_RATE_LIMITED", "too many requests", retry_delay=1.5,
        provider={"provider": "openai", "http_status": 429},
        cause=Failure("STEP_FAILED", "connection reset", "OSError", non_retryable=True),
    )  # fmt: skip
    assert str(found) == "too many requests"


def test_a_reason_of_a_newer_server_is_its_number():
    assert to_failure(error_pb2.Failure(reason=999)).reason == "999"


def test_a_skip_is_told_in_words_and_a_reason_of_a_newer_server_is_unknown():
    for value in PB.SkipReason.DESCRIPTOR.values[1:]:
        assert to_skip_reason(value.number) is not SkipReason.UNKNOWN
        assert "does not know" not in skipped_in_words(value.number, ["a"])
    assert to_skip_reason(99) is SkipReason.UNKNOWN
    assert skipped_in_words(PB.SKIP_REASON_DEPENDENCY_SKIPPED, ["a", "b"]) == "`a`, `b` were skipped"


@pytest.mark.parametrize("status", [PB.WORKFLOW_RUN_STATUS_CANCELLED, PB.WORKFLOW_RUN_STATUS_RUNNING])
def test_a_run_without_failure_that_is_not_complete_raises_a_workflow_error(status):
    with pytest.raises(WorkflowError, match="run run_1 is not complete"):
        to_result(a_run(status)).raise_for_failure()


def test_a_running_run_has_no_duration():
    assert to_result(a_run(PB.WORKFLOW_RUN_STATUS_RUNNING, WAITING)).duration is None


def test_a_run_that_does_not_say_when_it_ended_took_as_long_as_its_last_step():
    assert to_result(a_run(PB.WORKFLOW_RUN_STATUS_COMPLETED, FINE, end_time=None)).duration == 1.0


def test_the_summary_is_a_table():
    result = to_result(a_run(PB.WORKFLOW_RUN_STATUS_FAILED, FINE, BROKEN, LEFT_OUT, WAITING))
    assert result.format_summary().splitlines() == [
        "Workflow w: failed after 2.50 s (run run_1)",
        '  fine      completed           1.00 s             {"a": [1]}',
        "  broken    failed                      attempt 4  ValueError: no number",
        "  left_out  skipped                                `broken` failed",
        "  waiting   waiting_for_worker                     waits for a worker of fleet",
    ]


def test_a_long_result_is_cut_in_the_summary():
    long = PB.StepRun(name="a", status=PB.STEP_STATUS_COMPLETED, result_json='"' + "x" * 100 + '"')
    assert to_result(a_run(PB.WORKFLOW_RUN_STATUS_COMPLETED, long)).format_summary().endswith("x" * 59 + "…")


def test_an_error_is_whole_in_the_summary_and_on_one_line():
    long = PB.StepRun(name="a", status=PB.STEP_STATUS_FAILED, failure=failure("x" * 100 + "\n  and the cure"))
    assert to_result(a_run(PB.WORKFLOW_RUN_STATUS_FAILED, long)).format_summary().endswith("x" * 100 + " and the cure")


def test_an_event_has_python_values():
    message = PB.WorkflowEvent(
        sequence=7, step="a", attempt=2, create_time=Timestamp(seconds=5), run_id="run_1",
        step_completed=PB.StepCompletedEvent(result_json="3.0"),
    )  # fmt: skip
    found = to_event("run_1", message)
    assert found == WorkflowEvent(
        WorkflowEventType.STEP_COMPLETED, "run_1", 7, 5.0, step="a", attempt=2, result=3.0
    )  # fmt: skip
    assert found.type == "step_completed"


def test_every_event_of_the_contract_is_known():
    for field in PB.WorkflowEvent.DESCRIPTOR.oneofs_by_name["event"].fields:
        facts = {"status": PB.WORKFLOW_RUN_STATUS_FAILED} if field.name == "run_finished" else {}
        facts |= {"progress_json": "1"} if field.name == "step_progress" else {}
        found = to_event("run_1", event(field.name, **facts)).type
        assert found is not WorkflowEventType.UNKNOWN
        assert found in (field.name, f"{field.name}_for_worker", field.name.rpartition("_")[2])


def test_the_events_of_failures_and_skips_have_their_facts():
    failed = to_event("run_1", event("step_failed", "a", attempt=4, error="boom"))
    assert (failed.error, failed.failure) == ("boom", Failure("STEP_FAILED", "boom"))
    retrying = to_event("run_1", event("step_retrying", "a", attempt=1, error="no luck", delay=0.2))
    assert (retrying.error, retrying.delay) == ("no luck", 0.2)
    skipped = to_event("run_1", event("step_skipped", "b", reason=PB.SKIP_REASON_DEPENDENCY_FAILED, because_of=["a"]))
    assert (skipped.error, skipped.skip_reason, skipped.because_of) == ("`a` failed", "dependency_failed", ("a",))
    ended = to_event(
        "run_1", event("run_finished", status=PB.WORKFLOW_RUN_STATUS_FAILED, error="it failed", failed_steps=["a"])
    )
    assert (ended.status, ended.error, ended.failed_steps) == ("failed", "it failed", ("a",))


def test_an_event_of_a_newer_server_is_unknown():
    assert to_event("run_1", PB.WorkflowEvent()).type is WorkflowEventType.UNKNOWN


def test_every_status_of_the_contract_is_known():
    for name, number in PB.StepStatus.items():
        if number:
            step = to_result(a_run(PB.WORKFLOW_RUN_STATUS_RUNNING, PB.StepRun(name="a", status=number)))
            assert step.step_results["a"].status == name.removeprefix("STEP_STATUS_").lower()


def a_workflow() -> Workflow:
    workflow = Workflow("w")
    workflow.add_step("fine", "Do it")
    workflow.add_step('say "hi" <b>', "Do it", depends_on=["fine"], condition='context.x > 3 && "a" != `b`')
    workflow.add_step("waiting", "Do it", depends_on=["fine", "unknown"])
    return workflow


def test_a_workflow_as_mermaid():
    assert to_mermaid(a_workflow()).splitlines() == [
        "flowchart TD",
        '    s0["fine"]',
        '    s1{{"say #34;hi#34; #60;b#62;<br/>if context.x #62; 3 #38;#38; #34;a#34; != #96;b#96;"}}',
        '    s2["waiting"]',
        "    s0 --> s1",
        "    s0 --> s2",
    ]


def test_a_run_as_mermaid_shows_how_far_each_step_is():
    lines = to_mermaid(a_workflow(), to_result(a_run(PB.WORKFLOW_RUN_STATUS_RUNNING, FINE, WAITING))).splitlines()
    assert '    s0["fine<br/>completed 1.00 s"]' in lines
    assert '    s2["waiting<br/>waiting for worker (fleet)"]' in lines
    assert "    class s0 completed" in lines
    assert "    class s2 waiting_for_worker" in lines
    assert any(line.startswith("    classDef completed ") for line in lines)
    assert not any("failed" in line for line in lines)
