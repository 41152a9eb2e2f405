"""Reports from the field on steps after an optional branch. Each test is one report, its link in the text."""

from __future__ import annotations

from typing import Any

import pytest

from headwater.exceptions import ValidationError
from headwater.workflow import WorkflowAgent, WorkflowEventType
from tests.support.servers.server import ServerProcess


async def test_a_step_after_an_optional_branch_runs_when_it_says_so() -> None:
    """https://github.com/apache/airflow/issues/7885, https://github.com/apache/airflow/issues/1078"""
    with ServerProcess("--scripted") as server:
        agent = WorkflowAgent(target=server.target)
        agent.register_handler("h", lambda agent, step, context: step.name)

        def order(run_if: str | None) -> Any:
            workflow = agent.create_workflow("order")
            workflow.add_step("load", handler="h")
            workflow.add_step("translate", handler="h", depends_on="load", condition="context.translate")
            workflow.add_step("publish", handler="h", depends_on=["load", "translate"], run_if=run_if)
            return workflow

        result = await agent.execute_workflow(order("none_failed"), {"translate": False})
        assert result.step_results["publish"].status == "completed"
        events = [event async for event in agent.stream_workflow(order(None), {"translate": False})]
        [warning] = [event for event in events if event.type is WorkflowEventType.WARNING]
        assert (warning.step, "run_if" in warning.error) == ("publish", True)


def test_a_rule_that_does_not_exist_is_refused_with_those_that_do() -> None:
    workflow = WorkflowAgent().create_workflow("w")
    with pytest.raises(ValidationError, match="all_succeeded, none_failed, all_done, any_failed"):
        workflow.add_step("a", action="x", run_if="one_failed")
