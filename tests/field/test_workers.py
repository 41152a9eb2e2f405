"""Reports from the field on workers: heartbeats, deploys and restarts. Each test is one report, its link in the text."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

from headwater.agent import Agent
from headwater.workflow import WorkflowAgent
from tests.support.servers.server import ServerProcess


async def test_a_tool_that_blocks_its_loop_does_not_stop_the_heartbeats_of_a_worker_in_the_same_process() -> None:
    """https://github.com/hatchet-dev/hatchet-python/issues/32, https://github.com/hatchet-dev/hatchet/issues/2432"""
    begun = threading.Event()
    attempts = []

    async def slow(x: str) -> str:
        """Blocks."""
        begun.set()
        time.sleep(2.5)  # noqa: ASYNC251  the mistake of the report
        return "slow"

    with ServerProcess("--scripted", variables={"HEADWATER_WORKER_TIMEOUT_SECONDS": "0.5"}) as server:
        chat = Agent(model="scripted/echo", tools=[slow], history=0, target=server.target)
        script = {"tool_calls": [{"name": "slow", "arguments": {"x": "a"}}], "after_tools": {"text": "done"}}

        def talk() -> None:
            chat.run("go", provider_options={"scripted": script})

        talking = threading.Thread(target=talk)

        def work(agent: Any, step: Any, context: Any) -> str:
            attempts.append(step.attempt)
            talking.start()
            assert begun.wait(10)
            talking.join(30)
            return "ok"

        agent = WorkflowAgent(target=server.target)
        agent.register_handler("work", work)
        workflow = agent.create_workflow("w")
        workflow.add_step("work", handler="work", max_retries=0)
        result = await asyncio.wait_for(agent.execute_workflow(workflow), 30)
    assert (result.successful, attempts) == (True, [1]), result.error
