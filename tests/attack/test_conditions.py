"""Conditions and prompts that are legal and take minutes: their steps fail, and no other caller waits."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from headwater.v1 import workflow_pb2, workflow_service_pb2
from headwater.v1.workflow_pb2 import Step, Workflow
from headwater.v1.workflow_service_pb2_grpc import WorkflowServiceStub
from tests.support.attacks import OPTIONS, others_wait_at_most
from tests.support.servers.server import ServerProcess

LONGEST_WAIT = 0.25
MATCHES = " || ".join([r'context.s.matches("(?:[^x]{0,99}[^y]{0,99}){1,9}q")'] * 4)
COPIES = "context.list.map(x, context.list).size() > 3"
CONTEXT = json.dumps({"s": "a" * 64_000, "list": [1] * 999})
STOPPED = "took more than 1 s of computing time and was stopped; let the step before work it out"

Unharmed = Callable[[], AbstractContextManager[None]]


@pytest.fixture(scope="module")
def attacked() -> Iterator[ServerProcess]:
    with ServerProcess("--scripted") as attacked:
        yield attacked


@pytest.fixture
def others_unharmed(attacked: ServerProcess, server: ServerProcess) -> Unharmed:
    return partial(others_wait_at_most, LONGEST_WAIT, attacked, server)


@pytest.fixture
def stub(attacked: ServerProcess) -> Iterator[Any]:
    with grpc.insecure_channel(attacked.target, options=OPTIONS) as channel:
        yield WorkflowServiceStub(channel)


def start(steps: Sequence[Step], context: str = CONTEXT) -> workflow_service_pb2.StartWorkflowRunRequest:
    workflow = Workflow(name="w", steps=steps, agent={"model": "scripted/echo"})
    return workflow_service_pb2.StartWorkflowRunRequest(workflow=workflow, context_json=context)


def the_end(stub: Any, run_id: str) -> workflow_pb2.WorkflowRun:
    watch = workflow_service_pb2.WatchWorkflowRunRequest(run_id=run_id)
    for _ in stub.WatchWorkflowRun(watch, timeout=50, wait_for_ready=True):
        pass
    return stub.GetWorkflowRun(workflow_service_pb2.GetWorkflowRunRequest(run_id=run_id), timeout=30).run


def run_to_its_end(stub: Any, steps: Sequence[Step], context: str = CONTEXT) -> workflow_pb2.WorkflowRun:
    return the_end(stub, stub.StartWorkflowRun(start(steps, context), timeout=30).run_id)


def statuses(run: workflow_pb2.WorkflowRun) -> set[str]:
    return {workflow_pb2.StepStatus.Name(step.status).removeprefix("STEP_STATUS_") for step in run.steps}


@pytest.mark.parametrize("condition", [MATCHES, COPIES])
def test_a_condition_that_takes_minutes_fails_its_step_alone(
    stub: Any, others_unharmed: Unharmed, condition: str
) -> None:
    with others_unharmed():
        run = run_to_its_end(stub, [Step(name="bad", action="x", condition=condition), Step(name="good", action="x")])
    bad, good = run.steps
    assert bad.status == workflow_pb2.STEP_STATUS_FAILED
    assert bad.failure.message.startswith(f"the condition of step `bad`, `{condition[:200]}")
    assert bad.failure.message.endswith(STOPPED)
    assert good.status == workflow_pb2.STEP_STATUS_COMPLETED


def test_an_honest_run_is_not_kept_waiting_by_conditions_of_another(stub: Any) -> None:
    bad = [Step(name=f"s{n}", action="x", condition=COPIES) for n in range(20)]
    run_id = stub.StartWorkflowRun(start(bad), timeout=30).run_id
    began = time.monotonic()
    for n in range(5):
        run_to_its_end(stub, [Step(name="good", action=f"{{{{ {n} }}}}", condition=f"{n} >= 0")])
    took = time.monotonic() - began
    assert stub.GetWorkflowRun(workflow_service_pb2.GetWorkflowRunRequest(run_id=run_id)).run.status == (
        workflow_pb2.WORKFLOW_RUN_STATUS_RUNNING
    ), took
    stub.CancelWorkflowRun(workflow_service_pb2.CancelWorkflowRunRequest(run_id=run_id), timeout=10)


def test_two_thousand_conditions_of_one_moment_are_decided_between_other_calls(
    stub: Any, others_unharmed: Unharmed
) -> None:
    steps = [Step(name=f"s{n}", handler="h", queue="q", condition=f"context.n == {n}") for n in range(2_000)]
    with others_unharmed():
        run = run_to_its_end(stub, steps, '{"n": -1}')
    assert statuses(run) == {"SKIPPED"}


def test_hundreds_of_long_expressions_are_parsed_between_other_calls(stub: Any, others_unharmed: Unharmed) -> None:
    condition = "&&".join(["1==1"] * 160)
    placeholders = " ".join(f"{{{{ {n} + 1 }}}}" for n in range(1_000))
    steps = [Step(name=f"s{n}", action="x", condition=f"{condition} || {n} == 1") for n in range(300)]
    steps += [Step(name=f"p{n}", action=placeholders) for n in range(15)]
    request = workflow_service_pb2.ValidateWorkflowRequest(workflow=start(steps).workflow)
    with others_unharmed():
        answer = stub.ValidateWorkflow(request, timeout=50)
    assert not answer.violations


def test_a_prompt_that_would_grow_to_a_gigabyte_fails_its_step(stub: Any, others_unharmed: Unharmed) -> None:
    steps = [Step(name=f"s{n}", action="{{ big }}" * 1_000) for n in range(20)]
    with others_unharmed():
        run = run_to_its_end(stub, steps, json.dumps({"big": "x" * 1_000_000}))
    assert statuses(run) == {"FAILED"}
    assert "more than 3,145,728 characters are filled in" in run.steps[0].failure.message


def test_a_run_with_endless_conditions_neither_keeps_the_server_from_starting_nor_from_ending(tmp_path: Path) -> None:
    folder = ("--scripted", "--data-dir", str(tmp_path))
    first = ServerProcess(*folder)
    with first, grpc.insecure_channel(first.target, options=OPTIONS) as channel:
        stub = WorkflowServiceStub(channel)
        bad = stub.StartWorkflowRun(start([Step(name="s", action="x", condition=COPIES)]), timeout=30).run_id
        waits = Step(name="a", handler="h", queue="q")
        good = stub.StartWorkflowRun(start([waits, Step(name="b", action="x")]), timeout=30).run_id
        first.stop(signal.SIGKILL)
        first.expected_code = -signal.SIGKILL
    short = {"HEADWATER_DRAIN_SECONDS": "1"}
    with (
        ServerProcess(*folder, variables=short) as second,
        grpc.insecure_channel(second.target, options=OPTIONS) as channel,
    ):
        stub = WorkflowServiceStub(channel)
        run = the_end(stub, bad)
        assert run.steps[0].failure.message.endswith(STOPPED)
        assert "step `s` failed: the condition of step `s`" in run.failure.message
        view = stub.GetWorkflowRun(workflow_service_pb2.GetWorkflowRunRequest(run_id=good)).run
        assert view.steps[1].status == workflow_pb2.STEP_STATUS_COMPLETED
        stub.StartWorkflowRun(start([Step(name=f"s{n}", action="x", condition=COPIES) for n in range(9)]), timeout=30)
        began = time.monotonic()
        second.stop()
        assert time.monotonic() - began < 8  # the nine would take longer
