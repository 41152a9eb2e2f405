"""Processes that fork: before the first call, during one, and in a tool."""

from __future__ import annotations

from typing import Any

import pytest

from headwater.v1 import agent_pb2
from tests.support.scripts import assert_clean, run_script
from tests.support.services.fake_agent_service import Chunks, FakeAgentService, final, first, say

FORK = """
    import asyncio, os, sys, warnings
    from headwater import Agent, ForkError
    warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of any fork beside threads
    agent = Agent()
    async def ask():
        return (await agent.arun("Hi")).content
    {before}
    child = os.fork()
    if not child:
        try:
            answer = {call}
        except ForkError as error:
            answer = "ForkError " + ("spawn" if "spawn" in str(error) else "")
        print(answer, flush=True)
        sys.exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.parametrize("call", ["asyncio.run(ask())", 'agent.run("Hi").content'])
@pytest.mark.parametrize("before", ["", "asyncio.run(ask())"])
def test_a_fork_while_nothing_is_open_is_fine(service: FakeAgentService, before: str, call: str) -> None:
    assert_clean(run_script(service, FORK.format(before=before, call=call)), "Hello world\n")


@pytest.mark.parametrize("call", ["asyncio.run(ask())", 'agent.run("Hi").content', "list(agent.stream_sync('Hi'))"])
def test_a_fork_while_a_connection_is_open_is_refused_with_its_cure(service: FakeAgentService, call: str) -> None:
    assert_clean(run_script(service, FORK.format(before='agent.run("Hi")', call=call)), "ForkError spawn\n")


def call_what_is_asked_for(request: Any, context: Any) -> Chunks:
    """Calls the tool whose name is the prompt, and is done when it has the result."""
    return say("Done.") if request.continues_sequence else call(request.messages[0].parts[0].text)


async def call(name: str) -> Chunks:
    asked = agent_pb2.ToolCall(id="call_1", name=name, arguments_json="{}")
    message = agent_pb2.ChatMessage(role=agent_pb2.ROLE_ASSISTANT, parts=[agent_pb2.Part(tool_call=asked)])
    yield first()
    yield final(sequence=2, finish_reason=agent_pb2.FINISH_REASON_TOOL_CALLS, tool_calls=[asked], message=message)


TOOL_THAT_FORKS = """
    import asyncio, multiprocessing, os, subprocess, warnings
    from headwater import Agent
    warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of any fork beside threads

    def answers(queue):
        queue.put("child")

    def forks() -> str:
        "Forks in three ways."
        fork = multiprocessing.get_context("fork")
        queue = fork.Queue()
        child = fork.Process(target=answers, args=(queue,))
        child.start()
        said = queue.get(timeout=10)
        child.join(10)
        subprocess.run(["true"], preexec_fn=lambda: None, check=True, timeout=10)
        if not (pid := os.fork()):
            os._exit(0)
        print(said, child.exitcode, os.waitpid(pid, 0)[1], flush=True)
        return said

    async def forks_async() -> str:
        return forks()

    for tool in (forks, forks_async):
        Agent(tools=[tool]).run(tool.__name__, timeout=20)
"""


def test_a_tool_that_forks_does_not_hang_its_child() -> None:
    with FakeAgentService(reply=call_what_is_asked_for) as service:
        assert_clean(run_script(service, TOOL_THAT_FORKS), "child 0 0\n" * 2)


@pytest.mark.parametrize(("before", "value"), [("", "0"), ("import grpc", None)])
def test_the_fork_handlers_of_grpc_stay_out_unless_the_program_had_imported_it(
    service: FakeAgentService, before: str, value: str | None
) -> None:
    script = f"""
        import os
        {before}
        from headwater import Agent
        Agent().run("Hi")
        print(os.environ.get("GRPC_ENABLE_FORK_SUPPORT"))
    """
    assert_clean(run_script(service, script), f"{value}\n")


def test_a_program_that_had_imported_grpc_learns_what_to_set(service: FakeAgentService) -> None:
    script = """
        import grpc, sys
        from headwater import Agent, ForkError
        from headwater._grpc import channels
        Agent().run("Hi")
        channels._forked_with_open_channels = True  # the handlers themselves may hang the child
        try:
            Agent().run("Hi")
        except ForkError as error:
            print("GRPC_ENABLE_FORK_SUPPORT=0" in str(error))
    """
    assert_clean(run_script(service, script), "True\n")
