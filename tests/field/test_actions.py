"""Reports from the field on steps that are prompts. Each test is one report, its link in the text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from headwater.exceptions import ValidationError
from headwater.workflow import WorkflowAgent, WorkflowEventType, WorkflowResult
from tests.support.servers.server import ServerProcess


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with ServerProcess("--scripted", "--default-model", "scripted/echo") as running:
        yield running


def add_one_step(agent: WorkflowAgent, **step: Any) -> Any:
    workflow = agent.create_workflow("w")
    workflow.add_step("ask", action="one two three four five six", **step)
    return workflow


async def answered(target: str, *, tools: list[Any] | None = None, max_tokens: int = 2, **step: Any) -> WorkflowResult:
    agent = WorkflowAgent(target=target, max_tokens=max_tokens, tools=tools or [])
    return await agent.execute_workflow(add_one_step(agent, **step))


def a_tool() -> str:
    """Does nothing."""
    return ""


@pytest.mark.parametrize("tools", [[], [a_tool]], ids=["asked by the server", "asked by the agent, which has tools"])
async def test_half_a_reply_is_no_result(server: ServerProcess, tools: list[Any]) -> None:
    """https://github.com/agent0ai/agent-zero/issues/1836, https://github.com/CherryHQ/stella/issues/1079"""
    result = await answered(server.target, tools=tools)
    step = result.step_results["ask"]
    assert (step.status, step.attempts, step.finish_reason) == ("failed", 1, "length")
    assert "`length`" in (step.error or "")
    assert "max_tokens" in (step.error or "")
    assert step.usage is not None
    assert step.usage["output_tokens"] == 2


async def test_a_step_may_accept_a_reply_that_was_cut(server: ServerProcess) -> None:
    result = await answered(server.target, accept_finish_reasons="length")
    assert (result.status, result.step_results["ask"].finish_reason) == ("completed", "length")
    assert "one" in result.step_results["ask"].result


async def test_a_finish_reason_that_does_not_exist_is_refused() -> None:
    agent = WorkflowAgent()
    with pytest.raises(ValidationError, match="'lenght' is not a finish reason"):
        add_one_step(agent, accept_finish_reasons=["lenght"])


async def test_a_run_says_what_its_action_steps_cost(server: ServerProcess) -> None:
    """https://github.com/crewAIInc/crewAI/issues/933, https://github.com/orka-agents/orka/issues/14"""
    agent = WorkflowAgent(target=server.target)
    workflow = add_one_step(agent)
    workflow.add_step("again", action="seven", depends_on="ask")
    stream = agent.stream_workflow(workflow)
    completed = {event.step: event async for event in stream if event.type is WorkflowEventType.STEP_COMPLETED}
    result = stream.result
    assert result is not None
    assert result.usage is not None
    for name, step in result.step_results.items():
        assert (step.finish_reason, step.model, step.provider) == ("stop", "echo", "scripted")
        assert step.usage == completed[name].usage
    totals = [step.usage["total_tokens"] for step in result.step_results.values() if step.usage]
    assert result.usage["total_tokens"] == sum(totals) > 0
