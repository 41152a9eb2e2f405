"""Public reports about programs that use the client, each tried as a program: each test names its reports."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import textwrap
import threading

import psutil  # type: ignore[import-untyped]

from headwater import Agent
from tests.support.scripts import QUIET_WHEN_SLOW
from tests.support.servers.server import ServerProcess, clean_environment


def start(server: ServerProcess, program: str, *flags: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-u", *flags, "-c", QUIET_WHEN_SLOW + textwrap.dedent(program)],
        env=clean_environment(HEADWATER_TARGET=server.target),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(server: ServerProcess, program: str, *flags: str) -> tuple[int, str, str]:
    """Exit code, output and errors of a program; it is killed when it hangs."""
    with start(server, program, *flags) as process:
        try:
            output, errors = process.communicate(timeout=40)
        finally:
            process.kill()
    return process.returncode, output, errors


def test_the_synchronous_client_works_in_a_notebook_that_has_applied_nest_asyncio(server: ServerProcess) -> None:
    """erdewit/nest_asyncio#61, pydantic/pydantic-ai#144."""
    program = """
        import nest_asyncio
        nest_asyncio.apply()
        from headwater import Agent
        print(Agent(model="scripted/echo", timeout=20).run("hello").content)
    """
    code, output, errors = run(server, program)
    assert (code, output) == (0, "hello\n"), errors


def test_a_function_at_exit_asks_one_last_time(server: ServerProcess) -> None:
    """AgentOps-AI/agentops#18, NousResearch/hermes-agent#8073."""
    program = """
        import atexit
        from headwater import Agent
        agent = Agent(model="scripted/echo", timeout=20)
        atexit.register(lambda: print(agent.run("bye").content))
        print(agent.run("hi").content)
    """
    assert run(server, program) == (0, "hi\nbye\n", "")


def test_the_client_works_on_uvloop_twice_in_a_process(server: ServerProcess) -> None:
    """jupyter/nbclient#135."""
    program = """
        import asyncio, uvloop
        from headwater import Agent, WorkflowAgent

        async def main():
            print((await Agent(model="scripted/echo").arun("one")).content)
            agent = WorkflowAgent()
            agent.register_handler("h", lambda agent, step, context: 1)
            workflow = agent.create_workflow("w")
            workflow.add_step("h", handler="h")
            print((await agent.execute_workflow(workflow)).status)

        for _ in range(2):
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(main())
        print(Agent(model="scripted/echo").run("two").content)
    """
    assert run(server, program) == (0, "one\ncompleted\none\ncompleted\ntwo\n", "")


def test_nothing_is_said_in_development_mode_with_warnings_as_errors(server: ServerProcess) -> None:
    """BerriAI/litellm#30058."""
    program = """
        import asyncio
        from headwater import Agent, WorkflowAgent

        async def add(a: int, b: int) -> int:
            return a + b

        async def gen(agent, step, context):
            yield "a"
            yield "b"

        async def main():
            async for chunk in Agent(model="scripted/story").stream("x"):
                break
            tools = Agent(model="scripted/echo", tools=[add])
            call = {"name": "add", "arguments": {"a": 1, "b": 2}}
            script = {"tool_calls": [call], "after_tools": {"text": "3"}}
            print((await tools.arun("x", provider_options={"scripted": script})).content)
            flow = WorkflowAgent(model="scripted/reply")
            flow.register_handler("gen", gen)
            flow.register_handler("sync", lambda agent, step, context: 1)
            workflow = flow.create_workflow("w")
            workflow.add_step("gen", handler="gen")
            workflow.add_step("sync", handler="sync")
            workflow.add_step("ask", action="Hi")
            print((await flow.execute_workflow(workflow)).status)
            async for event in flow.stream_workflow(workflow):
                break

        asyncio.run(main())
        print(Agent(model="scripted/echo").run("sync").content)
        for chunk in Agent(model="scripted/story").stream_sync("x"):
            break
    """
    assert run(server, program, "-X", "dev", "-W", "error") == (0, "3\ncompleted\nsync\n", "")


def test_ctrl_c_ends_a_call_whose_tool_blocks(server: ServerProcess) -> None:
    """modal-labs/synchronicity#56, AgentOps-AI/agentops#15."""
    program = """
        import time
        from headwater import Agent

        def block() -> str:
            print("begun")
            time.sleep(60)
            return ""

        script = {"tool_calls": [{"name": "block", "arguments": {}}]}
        Agent(model="scripted/echo", tools=[block], history=0).run("go", provider_options={"scripted": script})
    """
    with start(server, program) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == -signal.SIGINT
    assert errors.rstrip().endswith("KeyboardInterrupt")


def test_many_event_loops_in_a_process_leave_nothing(server: ServerProcess) -> None:
    """NousResearch/hermes-agent#8073."""

    async def once() -> None:
        await Agent(model="scripted/echo", target=server.target, history=0).arun("x")

    def held() -> tuple[int, int]:
        return psutil.Process().num_fds(), threading.active_count()

    for _ in range(5):
        asyncio.run(once())
    descriptors, threads = held()
    for _ in range(30):
        asyncio.run(once())
    now_descriptors, now_threads = held()
    assert now_descriptors - descriptors <= 6
    assert now_threads - threads <= 1
