"""Requests as large as they may be, with JSON that takes long to read: no other caller waits for them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import grpc
import pytest

from headwater.v1 import AgentConfig, RunRequest
from headwater.v1.agent_service_pb2_grpc import AgentServiceStub
from headwater.v1.workflow_pb2 import WORKFLOW_RUN_STATUS_COMPLETED, Step, Workflow
from headwater.v1.workflow_service_pb2 import GetWorkflowRunRequest, StartWorkflowRunRequest, WatchWorkflowRunRequest
from headwater.v1.workflow_service_pb2_grpc import WorkflowServiceStub
from tests.support.attacks import OPTIONS, others_wait_at_most
from tests.support.servers.server import ServerProcess

LONGEST_WAIT = 0.25
OFF = Step(name="off", action="x", condition="false")
KEYS = json.dumps({f"k{n}": n for n in range(60_000)})
LISTS = json.dumps({"a": [[]] * 260_000})
ACTIONS = [Step(name=f"s{n}", action="x") for n in range(1_000)]
EDGES = [
    Step(name=f"s{n}", action="x", condition="false", depends_on=[f"s{m}" for m in range(max(0, n - 40), n)])
    for n in range(1_000)
]


@pytest.fixture(scope="module")
def attacked() -> Iterator[ServerProcess]:
    with ServerProcess("--scripted") as attacked:
        yield attacked


@pytest.mark.parametrize(
    ("steps", "context", "times"),
    [([OFF], KEYS, 3), ([OFF], LISTS, 10), (ACTIONS, "{}", 1), (EDGES, "{}", 1)],
    ids=["60,000 keys", "260,000 lists", "1,000 actions at once", "40,000 edges"],
)
def test_others_are_served_while_a_large_workflow_is_started_run_and_shown(
    attacked: ServerProcess, server: ServerProcess, steps: Sequence[Step], context: str, times: int
) -> None:
    workflow = Workflow(name="w", steps=steps, agent={"model": "scripted/echo"})
    request = StartWorkflowRunRequest(workflow=workflow, context_json=context)
    with grpc.insecure_channel(attacked.target, options=OPTIONS) as channel:
        stub: Any = WorkflowServiceStub(channel)
        with others_wait_at_most(LONGEST_WAIT, attacked, server):
            starts = [stub.StartWorkflowRun.future(request, timeout=50) for _ in range(times)]
            for run_id in [start.result().run_id for start in starts]:
                for _ in stub.WatchWorkflowRun(WatchWorkflowRunRequest(run_id=run_id), timeout=50):
                    pass
                run = stub.GetWorkflowRun(GetWorkflowRunRequest(run_id=run_id), timeout=30).run
                assert run.status == WORKFLOW_RUN_STATUS_COMPLETED


def test_others_are_served_while_large_schemas_are_read(attacked: ServerProcess, server: ServerProcess) -> None:
    schema = '{"type": "object", "enum": [' + "[]," * 349_000 + "[]]}"
    agent = AgentConfig(model="scripted/echo", tools=[{"function": {"name": "f", "parameters_json": schema}}])
    with grpc.insecure_channel(attacked.target, options=OPTIONS) as channel:
        stub: Any = AgentServiceStub(channel)
        with others_wait_at_most(LONGEST_WAIT, attacked, server):
            for call in [stub.Run.future(RunRequest(prompt="x", agent=agent), timeout=50) for _ in range(10)]:
                assert call.result().content
