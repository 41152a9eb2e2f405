"""Tools with `thread=False`: they run in the thread that made the call."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from typing import Any

import pytest

from headwater import Agent, ValidationError, tool
from headwater._values.calling_thread import CallingThread, in_calling_thread
from headwater.v1 import agent_pb2
from tests.support.services.fake_agent_service import Chunks, FakeAgentService, final, first, say


def call_then_done(request: Any, context: Any) -> Chunks:
    return say("Done.") if request.continues_sequence else call(request.agent.tools[0].function.name)


async def call(name: str) -> Chunks:
    asked = agent_pb2.ToolCall(id="call_1", name=name, arguments_json="{}")
    message = agent_pb2.ChatMessage(role=agent_pb2.ROLE_ASSISTANT, parts=[agent_pb2.Part(tool_call=asked)])
    yield first()
    yield final(sequence=2, finish_reason=agent_pb2.FINISH_REASON_TOOL_CALLS, tool_calls=[asked], message=message)


@pytest.fixture
def calling(service: FakeAgentService) -> FakeAgentService:
    service.reply = call_then_done
    return service


@tool(thread=False)
def where() -> int:
    """The thread that this runs in."""
    return threading.get_ident()


def thread_in(service: FakeAgentService) -> int:
    return int(service.requests[-1].messages[-1].parts[0].tool_result.content)


def test_under_run_it_is_the_thread_that_waits(calling: FakeAgentService) -> None:
    Agent(target=calling.target, tools=[where]).run("?")
    assert thread_in(calling) == threading.get_ident()


def test_under_stream_sync_it_is_the_thread_that_reads(calling: FakeAgentService) -> None:
    for _ in Agent(target=calling.target, tools=[where]).stream_sync("?"):
        pass
    assert thread_in(calling) == threading.get_ident()


async def test_under_asyncio_it_is_the_thread_of_the_loop(calling: FakeAgentService) -> None:
    await Agent(target=calling.target, tools=[where]).arun("?")
    assert thread_in(calling) == threading.get_ident()


def test_a_connection_that_is_bound_to_its_thread_can_be_used(calling: FakeAgentService) -> None:
    connection = sqlite3.connect(":memory:")

    @tool(thread=False)
    def query() -> list[Any]:
        """Run SQL."""
        return connection.execute("select 41 + 1").fetchall()

    Agent(target=calling.target, tools=[query]).run("?")
    connection.close()
    assert calling.requests[-1].messages[-1].parts[0].tool_result.content == "[[42]]"


def test_a_tool_that_raises_there_has_failed_and_the_call_continues(calling: FakeAgentService) -> None:
    @tool(thread=False)
    def leaves() -> None:
        """Leave."""
        raise SystemExit(3)

    assert Agent(target=calling.target, tools=[leaves]).run("?").content == "Done."
    assert calling.requests[-1].messages[-1].parts[0].tool_result.failure.message == "SystemExit: 3"


def test_a_tool_may_make_synchronous_calls_there(calling: FakeAgentService) -> None:
    inner = Agent(target=calling.target, tools=[where])

    @tool(thread=False)
    def ask() -> str:
        """Ask another agent."""
        return inner.run("?").content

    assert Agent(target=calling.target, tools=[ask]).run("?").content == "Done."
    assert calling.requests[-1].messages[-1].parts[0].tool_result.content == "Done."


async def test_after_the_call_a_function_runs_on_the_loop() -> None:
    caller = CallingThread(asyncio.get_running_loop())
    caller.release()
    assert caller.begin(threading.get_ident) is None
    assert (await in_calling_thread(threading.get_ident)).value == threading.get_ident()


def test_an_async_function_has_no_thread_to_choose() -> None:
    async def wait() -> None:
        pass

    with pytest.raises(ValidationError, match="thread: has no meaning for an async function"):
        tool(thread=False)(wait)
