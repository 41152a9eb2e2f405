"""Public reports about calls of clients, tried on this client: each test names its reports."""

from __future__ import annotations

import asyncio
import sys
import types
import uuid
from collections.abc import Generator
from typing import Any

import pytest

from headwater import Agent, HeadwaterError, StreamInterruptedError, WorkflowAgent
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


async def test_an_order_that_is_submitted_twice_starts_one_run(server: ServerProcess) -> None:
    """KeeperHub/keeperhub#1532, vercel/workflow#2011."""
    agent = WorkflowAgent(model="scripted/echo", target=server.target)
    workflow = agent.create_workflow("order")
    workflow.add_step("ask", action="Hi")
    request_id = uuid.uuid4().hex
    first, second = [await agent.start_workflow(workflow, request_id=request_id) for _ in range(2)]
    assert first.run_id == second.run_id
    assert (await first.result()).status == (await second.result()).status == "completed"


def test_a_process_that_gevent_has_patched_is_refused_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    """grpc/grpc#4629, grpc/grpc#27340, gevent/gevent#786."""
    patched = types.ModuleType("gevent.monkey")
    patched.is_module_patched = lambda name: True  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gevent.monkey", patched)
    with pytest.raises(HeadwaterError, match="Call Headwater from a process that is not patched"):
        Agent().run("Hi")


def test_a_server_on_ipv6_is_reached() -> None:
    """No report: listening on IPv6, as the client's targets promise."""
    with ServerProcess("--scripted", "--host", "::1") as server:
        port = server.target.rpartition(":")[2]
        assert [
            Agent(model="scripted/echo", target=target, history=0, timeout=20).run("hi").content
            for target in (server.target, f"[::1]:{port}")
        ] == ["hi", "hi"]
