"""Reports from the field on steps that are prompts. Each test is one report, its link in the text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from headwater.exceptions import ValidationError
from headwater.workflow import WorkflowAgent, WorkflowEventType, WorkflowResult
from tests.support.servers.server import ServerProcess, run_cli


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
    events = [event async for event in stream]
    completed = {event.step: event for event in events if event.type is WorkflowEventType.STEP_COMPLETED}
    result = stream.result
    assert result is not None
    assert result.usage is not None
    for name, step in result.step_results.items():
        assert (step.finish_reason, step.model, step.provider) == ("stop", "echo", "scripted")
        assert step.usage == completed[name].usage
    totals = [step.usage["total_tokens"] for step in result.step_results.values() if step.usage]
    assert result.usage["total_tokens"] == sum(totals) > 0
    assert events[-1].usage == result.usage
    shown = run_cli("workflow", "show", result.run_id, "--target", server.target).stdout
    facts = r"ask +scripted/echo +stop +\d+ in, \d+ out"
    assert re.search(facts, shown), shown
    listed = json.loads(run_cli("workflow", "list", "--json", "--target", server.target).stdout)
    [usage] = [run["usage"] for run in listed["runs"] if run["run_id"] == result.run_id]
    assert usage == result.usage


@pytest.mark.parametrize("tools", [[], [a_tool]], ids=["asked by the server", "asked by the agent, which has tools"])
async def test_a_prompt_names_values_of_the_context_and_results(server: ServerProcess, tools: list[Any]) -> None:
    """https://github.com/crewAIInc/crewAI/issues/1369, https://github.com/defai-digital/AutomatosX/issues/41"""
    agent = WorkflowAgent(target=server.target, tools=tools)
    workflow = agent.create_workflow("w")
    workflow.add_step("draft", action="Write about {topic} or {{topic}}.")
    workflow.add_step("better", action="Improve: {{ steps.draft.result }}", depends_on="draft")
    result = await agent.execute_workflow(workflow, {"topic": "rivers"})
    assert "{topic} or rivers." in result.step_results["draft"].result
    assert result.step_results["better"].result.count("rivers") == 1


@pytest.mark.parametrize("tools", [[], [a_tool]], ids=["asked by the server", "asked by the agent, which has tools"])
async def test_a_step_has_settings_for_itself(server: ServerProcess, tools: list[Any]) -> None:
    agent = WorkflowAgent(target=server.target, model="scripted/echo", max_tokens=1, tools=tools)
    workflow = agent.create_workflow("w")
    workflow.add_step("whole", action="one two three", max_tokens=100)
    workflow.add_step("story", action="Tell.", model="scripted/story", max_tokens=5_000)
    workflow.add_step("json", action="x", response_format={"type": "object"}, max_retries=0)
    result = await agent.execute_workflow(workflow)
    assert [step.model for step in result.step_results.values()][:2] == ["echo", "story"]
    assert result.step_results["whole"].finish_reason == "stop"
    assert "response_format" in (result.step_results["json"].error or "")  # the scripted provider refuses it


async def test_a_setting_that_a_step_does_not_have_is_refused() -> None:
    with pytest.raises(TypeError, match="did you mean temperature"):
        add_one_step(WorkflowAgent(), temprature=1)
