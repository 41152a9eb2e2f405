"""Reports from the field on runs that are wide, long or large. Each test is one report, its link in the text if it has one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from headwater.exceptions import ValidationError
from headwater.v1 import workflow_service_pb2, workflow_service_pb2_grpc
from headwater.workflow import Workflow, WorkflowAgent
from tests.support.servers.server import ServerProcess, run_cli

MIB = 1_048_576


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with ServerProcess("--scripted") as running:
        yield running


@pytest.fixture
def agent(server: ServerProcess) -> WorkflowAgent:
    return WorkflowAgent(target=server.target)


def pages(agent: WorkflowAgent, count: int, characters: int) -> Workflow:
    agent.register_handler("page", lambda agent, step, context: "x" * characters)
    workflow = agent.create_workflow("pages")
    for number in range(count):
        workflow.add_step(f"p{number}", handler="page")
    return workflow


async def test_500_steps_side_by_side_and_one_that_joins_them(agent: WorkflowAgent) -> None:
    """https://github.com/Azure/Durable-Task-Scheduler/issues/46"""
    names = [f"p{number}" for number in range(500)]
    agent.register_handler("number", lambda agent, step, context: int(step.name[1:]))
    agent.register_handler("sum", lambda agent, step, context: sum(context[f"{name}_result"] for name in names))
    workflow = agent.create_workflow("wide")
    for name in names:
        workflow.add_step(name, handler="number")
    workflow.add_step("join", handler="sum", depends_on=names)
    result = await agent.execute_workflow(workflow)
    assert result.context["join_result"] == sum(range(500))


async def test_a_chain_of_200_steps_hands_a_value_on(agent: WorkflowAgent) -> None:
    agent.register_handler("add", lambda agent, step, context: context.update(n=context["n"] + 1))
    workflow = agent.create_workflow("chain")
    for number in range(200):
        workflow.add_step(f"c{number}", handler="add", depends_on=[f"c{number - 1}"] if number else [])
    context = {"n": 0}
    assert (await agent.execute_workflow(workflow, context)).successful
    assert context["n"] == 200


async def test_many_results_that_fit_together_all_stay(agent: WorkflowAgent) -> None:
    """https://github.com/temporalio/temporal/issues/518, https://github.com/temporalio/sdk-python/issues/1285"""
    result = await agent.execute_workflow(pages(agent, 300, 4096))
    assert result.successful, result.error
    assert result.context["p299_result"] == result.step_results["p299"].result == "x" * 4096


async def test_a_step_whose_result_does_not_fit_fails_once_and_names_the_size(agent: WorkflowAgent) -> None:
    result = await agent.execute_workflow(pages(agent, 2, 900_000))
    [failed] = result.failed_steps
    step = result.step_results[failed]
    assert step.attempts == 1
    assert f"step `{failed}`" in (step.error or "")
    assert "1,800,004 bytes, at most 1,310,720" in (step.error or "")


async def test_a_value_that_is_too_large_is_refused_before_the_run_and_named(agent: WorkflowAgent) -> None:
    with pytest.raises(ValidationError, match=r"`pdf`.*1,048,576"):
        await agent.execute_workflow(pages(agent, 1, 1), {"small": 1, "pdf": "x" * MIB})


async def test_a_list_of_runs_with_long_names_fits_into_a_message(server: ServerProcess, agent: WorkflowAgent) -> None:
    """https://github.com/Azure/azure-functions-python-worker/issues/678"""
    workflow = agent.create_workflow("имя " * 60)
    for number in range(100):
        workflow.add_step(f"{number} {'шаг' * 80}", action="x", condition="context.missing == 1")
    for _ in range(70):
        result = await agent.execute_workflow(workflow)
        assert result.status == "failed"
    listed = run_cli("workflow", "list", "--limit", "1000", "--json", "--target", server.target)
    assert (listed.returncode, listed.stdout.count(result.run_id)) == (0, 1)
    async with grpc.aio.insecure_channel(server.target) as channel:
        stub = workflow_service_pb2_grpc.WorkflowServiceStub(channel)
        answer = await stub.ListWorkflowRuns(workflow_service_pb2.ListWorkflowRunsRequest(page_size=1000))
    assert answer.next_page_token
    assert len(answer.runs) > 40


def megabytes(process: int) -> float:
    status = Path(f"/proc/{process}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


async def test_the_memory_of_a_server_does_not_grow_with_its_runs() -> None:
    async def speak(agent: Any, step: Any, context: Any) -> AsyncIterator[str]:
        for _ in range(60):
            yield "x" * 1000

    with ServerProcess("--scripted") as server:
        agent = WorkflowAgent(target=server.target)
        agent.register_handler("speak", speak)
        workflow = agent.create_workflow("w")
        workflow.add_step("speak", handler="speak")

        async def run(count: int) -> None:
            for _ in range(count // 20):
                await asyncio.gather(*(agent.execute_workflow(workflow) for _ in range(20)))

        await run(60)
        before = megabytes(server.process.pid)
        await run(200)  # their output alone is 12 MB
        assert megabytes(server.process.pid) - before < 8


async def test_a_data_directory_may_have_any_name(tmp_path: Path) -> None:
    name = "größe 日本 q?mode=ro#x%20y"
    with ServerProcess("--scripted", "--data-dir", str(tmp_path / name)) as server:
        result = await (agent := WorkflowAgent(target=server.target)).execute_workflow(pages(agent, 1, 1))
    assert result.successful
    copied = run_cli("backup", str(tmp_path / f"{name}.db"), "--data-dir", str(tmp_path / name))
    assert copied.returncode == 0, copied.stderr
    assert set(os.listdir(tmp_path)) == {name, f"{name}.db"}
    assert "headwater.db" in os.listdir(tmp_path / name)
