"""The guide's programs on handlers and tool wrappers, as they stand, against the real server."""

from __future__ import annotations

import pytest

from headwater import Agent, create_mock_stream
from headwater.agents.workflow import WorkflowAgent
from tests.support.servers.server import ServerProcess


@pytest.fixture(autouse=True)
def _target(server: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADWATER_TARGET", server.target)


def calculate(expression: str) -> float:
    """Calculate a mathematical expression."""
    result = eval(expression, {"__builtins__": {}}, {})  # noqa: S307  the guide's own
    return float(result)


async def calc_handler(agent, step, context):
    """Handler that performs calculation with streaming."""
    params = context.get("calc_params", {})

    async for chunk in create_mock_stream(f"Calculating {params}...\n", chunk_size=5):
        print(chunk.content, end="", flush=True)

    result = calculate(**params)
    context["calc_result"] = result

    async for chunk in create_mock_stream(f"Result: {result}\n", chunk_size=5):
        print(chunk.content, end="", flush=True)

    return str(result)


async def test_the_handler_pattern(capsys):
    agent = WorkflowAgent(name="Calculator")
    agent.register_handler("calculate", calc_handler)

    workflow = agent.create_workflow("math_workflow")
    workflow.add_step(name="calculate", handler="calculate", action="Performing calculation...")

    context = {"calc_params": {"expression": "15 * 2500 / 100"}}
    result = await agent.execute_workflow(workflow, context=context)

    assert result.successful
    assert capsys.readouterr().out == "Calculating {'expression': '15 * 2500 / 100'}...\nResult: 375.0\n"
    assert context["calc_result"] == 375.0
    assert context["calculate_result"] == "375.0"
    assert result.context == context


class StreamingToolWrapper:
    """Wrapper to make tools work with WorkflowAgent."""

    def __init__(self, name: str, description: str, func):
        self.name = name
        self.description = description
        self.func = func

    def create_streaming_handler(self, step_name: str):
        """Create a streaming handler for workflow steps."""

        async def handler(agent, step, context):
            params = context.get(f"{step_name}_params", {})

            async for chunk in create_mock_stream(f"Executing {self.name}...\n"):
                print(chunk.content, end="", flush=True)

            result = await self.execute(**params)

            context[f"{step_name}_result"] = result

            return str(result)

        return handler

    async def execute(self, *args, **kwargs):
        """Execute the wrapped function."""
        return self.func(*args, **kwargs)


async def test_the_tool_wrapper_pattern_keeps_the_value_for_the_next_step(capsys):
    agent = WorkflowAgent(name="Wrapped")
    wrapper = StreamingToolWrapper("calculator", "Calculates.", calculate)
    agent.register_handler("calc", wrapper.create_streaming_handler("calc"))
    agent.register_handler("double", lambda agent, step, context: context["calc_result"] * 2)

    workflow = agent.create_workflow("wrapped")
    workflow.add_step(name="calc", handler="calc", action="Calculating...")
    workflow.add_step(name="double", handler="double", depends_on=["calc"])
    context = {"calc_params": {"expression": "2 + 3"}}
    result = await agent.execute_workflow(workflow, context=context)

    assert result.successful, result.format_summary()
    assert capsys.readouterr().out == "Executing calculator...\n"
    assert result.get_step_result("calc").result == "5.0"
    assert repr(context["calc_result"]) == "5.0"
    assert context["double_result"] == 10.0


async def test_a_plain_function_and_its_handler():
    def my_tool(word):
        return word.upper()

    async def my_tool_handler(agent, step, context):
        result = my_tool(**context.get("params", {}))
        return result  # noqa: RET504  the guide writes it so

    agent = WorkflowAgent()
    agent.register_handler("my_tool", my_tool_handler)
    workflow = agent.create_workflow("w")
    workflow.add_step("shout", handler="my_tool")
    result = await agent.execute_workflow(workflow, context={"params": {"word": "hi"}})
    assert result.context["shout_result"] == "HI"


async def test_data_flows_through_the_context():
    async def first(agent, step, context):
        result = [1, 2, 3]
        context["step1_result"] = result

    async def second(agent, step, context):
        next_input = context.get("step1_result")
        return sum(next_input)

    agent = WorkflowAgent()
    agent.register_handler("first", first)
    agent.register_handler("second", second)
    workflow = agent.create_workflow("w")
    workflow.add_step("step1", handler="first")
    workflow.add_step("step2", handler="second", depends_on=["step1"])
    result = await agent.execute_workflow(workflow)
    assert result.context == {"step1_result": [1, 2, 3], "step2_result": 6}


async def test_a_handler_may_stream_a_model():
    async def handler(agent: Agent, step, context):
        text = ""
        async for chunk in agent.stream(f"Say {context['word']}", model="scripted/echo"):
            text += chunk.content
        return text

    agent = WorkflowAgent()
    agent.register_handler("ask", handler)
    workflow = agent.create_workflow("w")
    workflow.add_step("ask", handler="ask")
    result = await agent.execute_workflow(workflow, context={"word": "hello"})
    assert result.get_step_result("ask").result == "Say hello"
