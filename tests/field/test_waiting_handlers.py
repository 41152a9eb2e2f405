"""A handler that waits for a run on its own queue, in every way to wait.

https://github.com/PrefectHQ/prefect/issues/17060, https://github.com/code-yeongyu/oh-my-openagent/issues/8575
"""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest

from headwater._worker.places import Place, current, give_back
from headwater.workflow import Workflow, WorkflowAgent, WorkflowEventType, WorkflowResult
from tests.support.servers.server import ServerProcess


async def _execute(agent: WorkflowAgent, child: Workflow) -> WorkflowResult:
    return await agent.execute_workflow(child)


async def _result(agent: WorkflowAgent, child: Workflow) -> WorkflowResult:
    handle = await agent.start_workflow(child)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(handle.result(), 0)  # to wait again is no second warning
    return await handle.result()


async def _events(agent: WorkflowAgent, child: Workflow) -> WorkflowResult:
    handle = await agent.start_workflow(child)
    assert [event async for event in handle.events()][-1].type is WorkflowEventType.RUN_FINISHED
    return await handle.status()


async def _stream(agent: WorkflowAgent, child: Workflow) -> WorkflowResult:
    stream = agent.stream_workflow(child)
    assert [event async for event in stream][-1].type is WorkflowEventType.RUN_FINISHED
    assert stream.result is not None
    return stream.result


async def _progress(agent: WorkflowAgent, child: Workflow) -> WorkflowResult:
    handle = await agent.start_workflow(child)
    return await agent.stream_workflow_progress(handle.id)


async def _resume(agent: WorkflowAgent, child: Workflow) -> WorkflowResult:
    handle = await agent.start_workflow(child)
    return await agent.resume_workflow(handle.id)


def _sync(agent: WorkflowAgent, child: Workflow) -> WorkflowResult:
    return agent.execute_workflow_sync(child)


def _own_loop(agent: WorkflowAgent, child: Workflow) -> WorkflowResult:
    return asyncio.run(_result(agent, child))


WAITS = [_execute, _result, _events, _stream, _progress, _resume, _sync, _own_loop]


@pytest.mark.parametrize("wait", WAITS, ids=lambda wait: wait.__name__.strip("_"))
async def test_a_step_that_waits_for_a_run_on_its_own_queue_gives_its_place_back(
    wait: Any, server: ServerProcess, caplog: pytest.LogCaptureFixture
) -> None:
    queue = f"q-{wait.__name__}"

    def family(agent: WorkflowAgent, generations: int) -> Workflow:
        child = agent.create_workflow("child")
        child.add_step("leaf", handler="parent" if generations else "leaf", queue=queue, max_retries=0)
        return child

    def parent(agent: WorkflowAgent, step: Any, context: Any) -> Any:
        child = family(agent, 1 if step.name == "parent" else 0)  # a child and a grandchild
        return said(wait(agent, child)) if inspect.iscoroutinefunction(wait) else _said(wait(agent, child))

    async def said(result: Any) -> str:
        return _said(await result)

    target = server.target
    fleet = WorkflowAgent(target=target)
    fleet.register_handler("parent", parent)
    fleet.register_handler("leaf", lambda agent, step, context: "leaf")
    stop = asyncio.Event()
    serving = asyncio.create_task(fleet.run_worker(queue=queue, concurrency=1, stop=stop))
    agent = WorkflowAgent(target=target)
    workflow = agent.create_workflow("parent")
    workflow.add_step("parent", handler="parent", queue=queue, max_retries=0)
    handle = await agent.start_workflow(workflow)
    result = await asyncio.wait_for(handle.result(), 30)
    warnings = [event.error async for event in handle.events() if event.type is WorkflowEventType.WARNING]
    stop.set()
    await serving
    status, child_id = result.step_results["parent"].result.split()
    assert status == "completed"
    text = f"step `parent` waits for run {child_id} on its own queue `{queue}` and gives its place back"
    assert [warning for warning in warnings if "waits for run" in warning] == [text]
    assert [f"waits for run {child_id}" in record.getMessage() for record in caplog.records].count(True) == 1


def _said(result: WorkflowResult) -> str:
    return f"{result.status.value} {result.run_id}"


async def test_a_step_that_waits_for_two_runs_takes_its_place_again_after_both() -> None:
    waits: list[str] = []
    place = Place("q", "step", "run", waits.append)
    token = current.set(place)
    first, second = give_back("one", {"q"}), give_back("two", {"q", "r"})
    give_back("other", {"r"})()
    first()
    first()
    assert waits == ["one", "two"]
    second()
    give_back("one", {"q"})()
    current.reset(token)
    assert waits == ["one", "two", "", "one", ""]
