"""`parallel=` of a run, as AgentiCraft's examples pass it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from headwater import ValidationError, Workflow, WorkflowAgent, WorkflowResult
from headwater.testing import ScriptedServer

Run = Callable[[WorkflowAgent, Workflow], Awaitable[WorkflowResult]]


class Kitchen:
    """Three steps without dependencies, and one after them; says which ran, and how many at most at a time."""

    def __init__(self, together: int) -> None:
        self.order: list[str] = []
        self.at_once = self.most = 0
        self._together = asyncio.Barrier(together)
        self.agent = WorkflowAgent(name="Kitchen")
        self.agent.register_handler("cook", self._cook)
        self.workflow = self.agent.create_workflow("dinner", "Three dishes, then the table")
        for dish in ("soup", "fish", "cake"):
            self.workflow.add_step(name=dish, handler="cook", action=f"Cooking the {dish}...")
        self.workflow.add_step("table", handler="serve", depends_on=["soup", "fish", "cake"])
        self.agent.register_handler("serve", lambda agent, step, context: len(self.order))

    async def _cook(self, agent: WorkflowAgent, step: Any, context: dict[str, Any]) -> str:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        self.order.append(step.name)
        await self._together.wait()
        self.at_once -= 1
        return step.name.upper()


async def test_true_runs_the_steps_at_once(headwater: ScriptedServer) -> None:
    kitchen = Kitchen(together=3)
    result = await kitchen.agent.execute_workflow(kitchen.workflow, context={}, parallel=True)
    assert (kitchen.most, result.context["table_result"]) == (3, 3)


async def _positional(agent: WorkflowAgent, workflow: Workflow) -> WorkflowResult:
    return await agent.execute_workflow(workflow, {}, False)


async def _executed(agent: WorkflowAgent, workflow: Workflow) -> WorkflowResult:
    return await agent.execute_workflow(workflow, parallel=False)


async def _streamed(agent: WorkflowAgent, workflow: Workflow) -> WorkflowResult:
    return await agent.stream_workflow(workflow, parallel=False).read_to_end()


async def _started(agent: WorkflowAgent, workflow: Workflow) -> WorkflowResult:
    return await (await agent.start_workflow(workflow, parallel=False)).result()


@pytest.mark.parametrize("run", [_positional, _executed, _streamed, _started])
async def test_false_runs_one_step_after_the_other_in_the_order_of_the_definition(
    headwater: ScriptedServer, run: Run
) -> None:
    kitchen = Kitchen(together=1)
    result = await run(kitchen.agent, kitchen.workflow)
    assert (kitchen.most, kitchen.order) == (1, ["soup", "fish", "cake"])
    assert result.context["table_result"] == 3
    assert all(step.parallel for step in kitchen.workflow.steps)


async def test_without_async_too(headwater: ScriptedServer) -> None:
    agent = WorkflowAgent()
    agent.register_handler("cook", lambda agent, step, context: "done")
    workflow = agent.create_workflow("dinner")
    workflow.add_step("soup", handler="cook")
    assert (await asyncio.to_thread(agent.execute_workflow_sync, workflow, parallel=False)).successful


async def test_anything_else_is_refused() -> None:
    with pytest.raises(ValidationError, match="parallel: must be True or False, not str"):
        await WorkflowAgent().execute_workflow(Workflow("w"), parallel="no")  # type: ignore[arg-type]
