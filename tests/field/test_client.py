"""Public reports about clients and their tools, tried on this client: each test names its reports."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Generator
from typing import Any

import pytest

from headwater import Agent, Image, StreamInterruptedError, WorkflowAgent, tool
from tests.support.servers.server import ServerProcess


def ask(server: ServerProcess, **settings: Any) -> Agent:
    return Agent(model="scripted/echo", target=server.target, history=0, timeout=20, **settings)


def call(name: str, /, **arguments: Any) -> dict[str, Any]:
    """A model that calls a tool, and is done when it has the result."""
    script = {"tool_calls": [{"name": name, "arguments": arguments}], "after_tools": {"text": "done"}}
    return {"scripted": script}


def results(agent: Agent, options: dict[str, Any]) -> list[str]:
    chunks = list(agent.stream_sync("go", provider_options=options))
    assert chunks[-1].is_final
    return [result["content"] for chunk in chunks for result in chunk.metadata.get("tool_results", [])]


def test_an_async_tool_that_makes_a_synchronous_call_learns_why_it_cannot(server: ServerProcess) -> None:
    """pydantic/pydantic-ai#3899, crewAIInc/crewAI#6742, flyteorg/flyte-sdk#1523."""

    async def ask_expert(question: str) -> str:
        return ask(server).run(question).content

    [content] = results(ask(server, tools=[ask_expert]), call("ask_expert", question="why?"))
    assert "await agent.arun" in content
    assert ask(server).run("later").content == "later"


def test_sync_tools_that_ask_agents_with_sync_tools_end(server: ServerProcess) -> None:
    """pydantic/pydantic-ai#7277."""
    levels: list[int] = []

    def deeper(level: int) -> str:
        levels.append(level)
        return start(level + 1) if level < 4 else "bottom"

    def start(level: int) -> str:
        [content] = results(ask(server, tools=[deeper]), call("deeper", level=level))
        return content

    assert start(1) == "bottom"
    assert levels == [1, 2, 3, 4]


async def test_a_reader_that_gives_up_a_wait_is_not_shown_a_whole_reply(server: ServerProcess) -> None:
    """Kiln-AI/Kiln#1435, NousResearch/hermes-agent#101258."""
    script = {"text": "one two three", "delay_ms": 5_000}
    stream = ask(server).stream("x", provider_options={"scripted": script})
    await anext(stream)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(stream), 0.05)
    with pytest.raises(StreamInterruptedError):
        await anext(stream)


async def test_what_a_generator_returns_is_the_result_of_its_step(server: ServerProcess) -> None:
    """PEP 380."""

    def work(agent: Any, step: Any, context: dict[str, Any]) -> Generator[str, None, dict[str, int]]:
        yield "reading... "
        return {"rows": 42}

    agent = WorkflowAgent(target=server.target)
    agent.register_handler("work", work)
    workflow = agent.create_workflow("w")
    workflow.add_step("work", handler="work")
    step = (await agent.execute_workflow(workflow)).get_step_result("work")
    assert step is not None
    assert step.result == {"rows": 42}


@pytest.mark.parametrize("size", [4_000, 9_000, 12_000, 15_000, 20_000, 32_768])
def test_a_long_token_always_passes(server: ServerProcess, size: int) -> None:
    """grpc/grpc#32600, grpc/grpc#37852."""
    agent = ask(server, token="x" * size)
    assert [agent.run("hi").content for _ in range(10)] == ["hi"] * 10


def test_a_tool_may_use_what_is_bound_to_the_calling_thread(server: ServerProcess) -> None:
    """holoviz/holonote#10, peter-wangxu/persist-queue#175."""
    connection = sqlite3.connect(":memory:")

    @tool(thread=False)
    def query(sql: str) -> list[Any]:
        return connection.execute(sql).fetchall()

    assert results(ask(server, tools=[query]), call("query", sql="select 42")) == ["[[42]]"]
    connection.close()


def test_a_tool_may_return_a_picture(server: ServerProcess) -> None:
    """openai/openai-agents-python#341, microsoft/agent-framework#4272."""

    def screenshot() -> Image:
        return Image(data=b"\x89PNG\r\n\x1a\n" + b"\x00\xff" * 50, media_type="image/png")

    assert results(ask(server, tools=[screenshot]), call("screenshot")) == ["[image/png, 108 bytes]"]
