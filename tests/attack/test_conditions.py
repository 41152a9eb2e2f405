"""Conditions and prompts that are legal and take minutes: their steps fail, and no other caller waits."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import grpc
import pytest

from headwater.v1 import workflow_pb2, workflow_service_pb2
from headwater.v1.workflow_pb2 import Step, Workflow
from headwater.v1.workflow_service_pb2_grpc import WorkflowServiceStub
from tests.support.attacks import OPTIONS, OtherCaller
from tests.support.servers.server import ServerProcess

LONGEST_WAIT = 0.25
MATCHES = " || ".join([r'context.s.matches("(?:[^x]{0,99}[^y]{0,99}){1,9}q")'] * 4)
COPIES = "context.list.map(x, context.list).size() > 3"
CONTEXT = json.dumps({"s": "a" * 64_000, "list": [1] * 999})


@pytest.fixture(scope="module")
def attacked() -> Iterator[ServerProcess]:
    with ServerProcess("--scripted") as server:
        yield server


@pytest.fixture
def stub(attacked: ServerProcess) -> Iterator[Any]:
    with grpc.insecure_channel(attacked.target, options=OPTIONS) as channel:
        yield WorkflowServiceStub(channel)


def workflow(steps: Sequence[Step]) -> Workflow:
    return Workflow(name="w", steps=steps, agent={"model": "scripted/echo"})


def start(steps: Sequence[Step], context: str = CONTEXT) -> workflow_service_pb2.StartWorkflowRunRequest:
    return workflow_service_pb2.StartWorkflowRunRequest(workflow=workflow(steps), context_json=context)


def run_to_its_end(stub: Any, request: workflow_service_pb2.StartWorkflowRunRequest) -> workflow_pb2.WorkflowRun:
    run_id = stub.StartWorkflowRun(request, timeout=30).run_id
    return the_end(stub, run_id)


def the_end(stub: Any, run_id: str) -> workflow_pb2.WorkflowRun:
    watch = workflow_service_pb2.WatchWorkflowRunRequest(run_id=run_id)
    for _ in stub.WatchWorkflowRun(watch, timeout=50):
        pass
    return stub.GetWorkflowRun(workflow_service_pb2.GetWorkflowRunRequest(run_id=run_id), timeout=30).run


@pytest.mark.parametrize("condition", [MATCHES, COPIES])
def test_a_condition_that_takes_minutes_fails_its_step_and_nobody_waits(
    attacked: ServerProcess, stub: Any, condition: str
) -> None:
    with OtherCaller(attacked.target) as other:
        run = run_to_its_end(
            stub, start([Step(name="bad", action="x", condition=condition), Step(name="good", action="x")])
        )
    assert other.longest < LONGEST_WAIT
    assert not other.failures
    bad, good = run.steps
    assert bad.status == workflow_pb2.STEP_STATUS_FAILED
    assert "the condition of step `bad`" in bad.failure.message
    assert (
        "took more than 1 s of computing time and was stopped; let the step before work it out" in bad.failure.message
    )
    assert good.status == workflow_pb2.STEP_STATUS_COMPLETED
