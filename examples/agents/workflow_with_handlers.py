"""Handlers: steps of a workflow that are functions of this program, with a shared context.

The run itself belongs to the server: it remembers each finished step, so a program that dies can be started again and
resume the run (`resume_workflow`). Start a server first (`headwater serve --scripted` needs no key), then:
python workflow_with_handlers.py
"""

import asyncio
from typing import Any

from headwater import create_mock_stream
from headwater.agents.workflow import WorkflowAgent

Context = dict[str, Any]


def statistics(numbers: list[float]) -> dict[str, float]:
    """A tool is a plain function; it knows nothing of workflows."""
    return {"count": len(numbers), "mean": sum(numbers) / len(numbers), "highest": max(numbers)}


def load(agent: WorkflowAgent, step: Any, context: Context) -> int:
    """A plain function runs in a thread. Its values in the context are there for later steps."""
    context["numbers"] = [float(number) for number in context.pop("raw").split()]
    return len(context["numbers"])


async def analyse(agent: WorkflowAgent, step: Any, context: Context) -> dict[str, float]:
    """An async function runs on this program's own event loop."""
    async for chunk in create_mock_stream("Calculating...\n", chunk_size=4):
        print(chunk.content, end="", flush=True)
    return statistics(context["numbers"])


async def describe(agent: WorkflowAgent, step: Any, context: Context) -> str:
    """A handler may ask the model of its agent."""
    facts = context["analyse_result"]
    reply = await agent.arun(f"Describe in one sentence: {facts}", max_tokens=40)
    return reply.content


def warn(agent: WorkflowAgent, step: Any, context: Context) -> str:
    limit = step.metadata["limit"]
    return f"{context['analyse_result']['highest']} is above {limit}"


async def report(agent: WorkflowAgent, step: Any, context: Context):
    """An async generator yields text that every watcher of the run sees; the whole text is its result."""
    yield f"{context['load_result']} numbers. "
    yield f"Mean: {context['analyse_result']['mean']:.2f}. "
    yield context.get("warn_result", "Nothing to worry about.")


async def main() -> None:
    agent = WorkflowAgent(name="Analyst", instructions="Be brief.")
    for handler in (load, analyse, describe, warn, report):
        agent.register_handler(handler.__name__, handler)

    workflow = agent.create_workflow("analysis", description="From text to a report")
    workflow.add_step("load", handler="load", action="Reading the numbers...")
    workflow.add_step("analyse", handler="analyse", depends_on=["load"], timeout=30)
    # These two run side by side, and `warn` only when it has a reason to.
    workflow.add_step("describe", handler="describe", depends_on=["analyse"], max_retries=1)
    workflow.add_step("warn", handler="warn", depends_on=["load"], metadata={"limit": 40}, condition="context.strict")
    workflow.add_step("report", handler="report", depends_on=["describe"])
    assert workflow.validate() == []
    print(agent.visualize_workflow(workflow))

    context: Context = {"raw": "15 2500 37.5", "strict": False}
    result = await agent.execute_workflow(workflow, context=context)
    print(result.format_summary())
    print(context["report_result"])


asyncio.run(main())
