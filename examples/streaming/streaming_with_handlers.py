"""Tools with handlers: a workflow whose steps use plain functions and stream what they do.

Start a server first (`headwater serve --scripted` needs no key), then: python streaming_with_handlers.py
"""

import asyncio
from typing import Any

from headwater import create_mock_stream
from headwater.agents.workflow import WorkflowAgent
from headwater.tools import calculator_tool

Context = dict[str, Any]
FORECAST = {"Bern": 21.0, "Oslo": 14.5}


async def say(text: str) -> None:
    async for chunk in create_mock_stream(text, chunk_size=5):
        print(chunk.content, end="", flush=True)


async def calculate(agent: WorkflowAgent, step: Any, context: Context) -> str:
    """The pattern: parameters from the context, the tool, the value into the context, its text as result."""
    params = context.get("calc_params", {})
    await say(f"Calculating {params}...\n")
    result = calculator_tool(**params)
    context["calc_result"] = result
    await say(f"Result: {result}\n")
    return str(result)


async def weather(agent: WorkflowAgent, step: Any, context: Context) -> dict[str, float]:
    await say(f"Asking for {len(context['cities'])} cities...\n")
    return {city: FORECAST[city] for city in context["cities"]}


async def summarise(agent: WorkflowAgent, step: Any, context: Context) -> str:
    """The reply of the model is printed as it comes, and its text is the result."""
    prompt = f"Sum up: the tip is {context['calc_result']}, the weather {context['weather_result']}"
    text = ""
    async for chunk in agent.stream(prompt, max_tokens=40):
        print(chunk.content, end="", flush=True)
        text += chunk.content
    print()
    return text


async def main() -> None:
    agent = WorkflowAgent(name="Traveller")
    agent.register_handler("calculate", calculate)
    agent.register_handler("weather", weather)
    agent.register_handler("summarise", summarise)

    workflow = agent.create_workflow("trip")
    workflow.add_step(name="calculate", handler="calculate", action="Performing calculation...")
    workflow.add_step(name="weather", handler="weather", action="Looking outside...", parallel=False)
    workflow.add_step(name="summarise", handler="summarise", depends_on=["calculate", "weather"])

    context: Context = {"calc_params": {"expression": "15 * 2500 / 100"}, "cities": ["Bern", "Oslo"]}
    result = await agent.execute_workflow(workflow, context=context)
    print(result.format_summary())
    print(f"The context has {', '.join(sorted(context))}")


asyncio.run(main())
