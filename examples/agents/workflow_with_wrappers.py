"""Tool wrappers: a class that makes any function a step of a workflow.

Start a server first (`headwater serve --scripted` needs no key), then: python workflow_with_wrappers.py
"""

import asyncio
from collections.abc import Callable
from typing import Any

from headwater import create_mock_stream
from headwater.agents.workflow import WorkflowAgent, WorkflowEventType
from headwater.tools import calculator_tool

Context = dict[str, Any]


class StreamingToolWrapper:
    """Makes a function a handler: parameters from `STEP_params` in the context, the value into `STEP_result`."""

    def __init__(self, name: str, description: str, func: Callable[..., Any]) -> None:
        self.name = name
        self.description = description
        self.func = func

    def create_streaming_handler(self, step_name: str) -> Callable[..., Any]:
        async def handler(agent: WorkflowAgent, step: Any, context: Context) -> str:
            params = context.get(f"{step_name}_params", {})
            async for chunk in create_mock_stream(f"Executing {self.name}...\n", chunk_size=6):
                print(chunk.content, end="", flush=True)
            result = await self.execute(**params)
            context[f"{step_name}_result"] = result  # the next step needs the value, not its text
            return str(result)

        return handler

    async def execute(self, *args: Any, **kwargs: Any) -> Any:
        return self.func(*args, **kwargs)


def convert(amount: float, rate: float) -> float:
    return round(amount * rate, 2)


TOOLS = {
    "calculate": StreamingToolWrapper("calculator", "Evaluates an expression.", calculator_tool),
    "convert": StreamingToolWrapper("converter", "Converts an amount of money.", convert),
}


async def main() -> None:
    agent = WorkflowAgent(name="Cashier")
    workflow = agent.create_workflow("invoice")
    for step_name, wrapper in TOOLS.items():
        agent.register_handler(step_name, wrapper.create_streaming_handler(step_name))
        workflow.add_step(
            name=step_name,
            handler=step_name,
            action=wrapper.description,
            depends_on=[] if step_name == "calculate" else ["prepare"],
        )

    def prepare(agent: WorkflowAgent, step: Any, context: Context) -> None:
        context["convert_params"] = {"amount": context["calculate_result"], "rate": 0.92}

    agent.register_handler("prepare", prepare)
    workflow.add_step("prepare", handler="prepare", depends_on=["calculate"])
    workflow.add_step("thank", action="Thank the customer for this payment.", depends_on=["convert"])

    context: Context = {"calculate_params": {"expression": "15 * 2500 / 100"}}
    stream = agent.stream_workflow(workflow, context)
    async for event in stream:
        if event.type == WorkflowEventType.CHUNK:
            print(event.content, end="", flush=True)
        elif event.type == WorkflowEventType.STEP_COMPLETED:
            print(f"\n[{event.step}: {str(event.result)[:40]!r}]")
    assert stream.result is not None
    stream.result.raise_for_failure()
    print(f"{context['calculate_result']} dollars are {context['convert_result']} euros")


asyncio.run(main())
