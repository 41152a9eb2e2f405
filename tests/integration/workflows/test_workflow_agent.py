"""WorkflowAgent against the real server: handlers here, the run there."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import headwater
from headwater.exceptions import (
    NonRetryableError,
    StepExecutionError,
    ValidationError,
    WorkflowError,
    WorkflowValidationError,
)
from headwater.tools import calculator_tool
from headwater.workflow import StepStatus, Workflow, WorkflowAgent
from tests.support.servers.server import ServerProcess, clean_environment


@pytest.fixture
def agent(server: ServerProcess) -> WorkflowAgent:
    return WorkflowAgent(target=server.target, model="scripted/echo")


@pytest.fixture
def impatient(processes: int) -> Iterator[ServerProcess]:
    """A server that soon takes a silent worker for dead."""
    with ServerProcess(
        "--scripted", variables={"HEADWATER_WORKER_TIMEOUT_SECONDS": "0.5"}, processes=processes
    ) as server:
        yield server


def chain(agent: WorkflowAgent, **handlers) -> Workflow:
    """A workflow in which each handler depends on the one before."""
    workflow = agent.create_workflow("chain")
    before: list[str] = []
    for name, handler in handlers.items():
        agent.register_handler(name, handler)
        workflow.add_step(name, handler=name, depends_on=before)
        before = [name]
    return workflow


async def test_sync_async_and_generator_handlers_share_one_context(agent):
    threads = []

    def sync(agent, step, context):
        threads.append(threading.current_thread())
        context["list"].append(1)
        return 3

    async def asynchronous(agent, step, context):
        threads.append(threading.current_thread())
        del context["gone"]
        context["list"].append(context["sync_result"])
        return 3.0

    async def generator(agent, step, context):
        yield "one "
        yield "two"

    context = {"list": [], "gone": None, "kept": {"a": 1}}
    kept = context["kept"]
    result = await agent.execute_workflow(
        chain(agent, sync=sync, asynchronous=asynchronous, generator=generator), context
    )
    assert result.successful, result.format_summary()
    assert repr(context) == (
        "{'list': [1, 3], 'kept': {'a': 1}, 'sync_result': 3, 'asynchronous_result': 3.0, 'generator_result': 'one two'}"
    )
    assert context["kept"] is kept
    assert threads[0] is not threading.current_thread()
    assert threads[1] is threading.current_thread()
    assert result.get_step_result("generator").result == "one two"


async def test_a_handler_gets_its_agent_and_its_step(agent):
    seen = {}

    async def handler(who, step, context):
        seen.update(vars_of(step), agent=who)

    def vars_of(step):
        return {
            name: getattr(step, name) for name in ("name", "action", "handler", "depends_on", "metadata", "attempt")
        }

    agent.register_handler("h", handler)
    workflow = agent.create_workflow("w")
    workflow.add_step("before", "Say hi")
    workflow.add_step("a", "A label", "h", depends_on=["before"], metadata={"k": 1})
    assert (await agent.execute_workflow(workflow)).successful
    assert seen == {
        "name": "a", "action": "A label", "handler": "h", "depends_on": ["before"], "metadata": {"k": 1},
        "attempt": 1, "agent": agent,
    }  # fmt: skip


async def test_what_a_generator_yields_is_seen_by_every_watcher_as_it_comes(agent):
    proceed = asyncio.Event()

    async def speak(agent, step, context):
        yield "before"
        await proceed.wait()
        yield "after"

    handle = await agent.start_workflow(chain(agent, speak=speak))
    watchers = [handle.events(), agent.stream_workflow_progress(handle.id)]
    for watcher in watchers:
        async for event in watcher:
            if event.type == "chunk":
                assert (event.step, event.content) == ("speak", "before")
                break
    proceed.set()
    for watcher in watchers:
        assert "after" in "".join([event.content async for event in watcher])
    assert (await handle.result()).get_step_result("speak").result == "beforeafter"


async def test_an_action_is_answered_by_the_model_with_the_results_before_it(agent):
    agent.register_handler("give", lambda agent, step, context: {"n": 1})
    workflow = agent.create_workflow("w")
    workflow.add_step("give", handler="give")
    workflow.add_step("ask", "Look:", depends_on=["give"])
    stream = agent.stream_workflow(workflow)
    chunks = [event.content async for event in stream if event.type == "chunk" and event.step == "ask"]
    assert stream.result.context["ask_result"] == 'Look:\n\n{"give": {"n": 1}}' == "".join(chunks)


async def test_the_action_of_an_agent_with_tools_runs_in_its_own_worker(server):
    def population(city: str) -> int:
        """How many people live in a city."""
        return 134_000

    agent = WorkflowAgent(target=server.target, model="scripted/echo", tools=[population])
    workflow = agent.create_workflow("w")
    workflow.add_step("first", "Hello")
    workflow.add_step("ask", "Look:", depends_on=["first"])
    stream = agent.stream_workflow(workflow)
    events = [event async for event in stream]
    assert stream.result.successful, stream.result.format_summary()
    assert stream.result.context["ask_result"] == 'Look:\n\n{"first": "Hello"}'
    assert "".join(event.content for event in events if event.step == "first") == "Hello"
    assert agent.messages == []


class Counting(WorkflowAgent):
    """An agent whose model first asks for a tool."""

    def stream(self, prompt, **options):  # type: ignore[override]
        script = {
            "tool_calls": [{"name": "population", "arguments": {"city": "Bern"}}],
            "after_tools": {"text": "Many"},
        }
        return super().stream(prompt, provider_options={"scripted": script}, **options)


async def test_an_action_step_calls_the_tools_of_its_agent_on_its_loop(server):
    called = []

    async def population(city: str) -> int:
        """How many people live in a city."""
        called.append((city, threading.get_ident()))
        return 134_000

    agent = Counting(target=server.target, model="scripted/echo", tools=[population])
    workflow = agent.create_workflow("w")
    workflow.add_step("ask", "How many?")
    result = await agent.execute_workflow(workflow)
    assert result.context == {"ask_result": "Many"}
    assert called == [("Bern", threading.get_ident())]


@pytest.mark.parametrize("tools", [[], [calculator_tool]])
async def test_an_action_that_no_further_attempt_would_mend_fails_at_once(server, tools):
    agent = WorkflowAgent(target=server.target, model="scripted/unknown", tools=tools)
    workflow = agent.create_workflow("w")
    workflow.add_step("ask", "Hello")
    result = await agent.execute_workflow(workflow)
    assert result.get_step_result("ask").attempts == 1
    assert "scripted has no such model" in result.get_step_result("ask").error


async def test_a_failing_handler_is_tried_again_and_fails_the_run(agent):
    attempts = []

    def flaky(agent, step, context):
        attempts.append(step.attempt)
        if len(attempts) < 3:
            raise ValueError("not yet")
        return "fine"

    def hopeless(agent, step, context):
        raise NonRetryableError("never")

    workflow = chain(agent, flaky=flaky, hopeless=hopeless, after=lambda agent, step, context: 1)
    result = await agent.execute_workflow(workflow)
    assert attempts == [1, 2, 3]
    assert result.status is StepStatus.FAILED
    assert result.failed_steps == ["hopeless"]
    assert result.get_step_result("flaky").attempts == 3
    assert result.get_step_result("after").status is StepStatus.SKIPPED
    assert "hopeless" in result.get_step_result("after").error
    with pytest.raises(StepExecutionError, match="never"):
        result.raise_for_failure()


async def test_a_condition_reads_the_context(agent):
    agent.register_handler("h", lambda agent, step, context: 1)
    workflow = agent.create_workflow("w")
    workflow.add_step("yes", handler="h", condition="context.score < 0.8")
    workflow.add_step("no", handler="h", condition="context.score > 0.8")
    result = await agent.execute_workflow(workflow, {"score": 0.5})
    assert [result.step_results[name].status for name in ("yes", "no")] == ["completed", "skipped"]
    assert result.successful


async def test_every_mistake_is_named_at_once_those_of_conditions_too(agent):
    workflow = agent.create_workflow("w")
    workflow.add_step("a", handler="missing")
    workflow.add_step("b", "Do it", depends_on=["b", "c"], condition="1 +")
    with pytest.raises(WorkflowValidationError) as caught:
        await agent.execute_workflow(workflow)
    assert sorted({path for path, _ in caught.value.violations}) == [
        "workflow.steps[0].handler",
        "workflow.steps[1].condition",
        "workflow.steps[1].depends_on[0]",
        "workflow.steps[1].depends_on[1]",
    ]


async def test_a_context_of_5_mib_is_refused(agent):
    with pytest.raises(ValidationError, match=r"context .largest key: `a`. has"):
        await agent.execute_workflow(chain(agent, a=lambda agent, step, context: 1), {"a": "x" * (5 << 20)})


async def test_a_result_that_is_not_json_fails_its_step_and_names_the_cure(agent):
    result = await agent.execute_workflow(chain(agent, a=lambda agent, step, context: {1j}))
    assert "does not convert to JSON; write what it says" in result.get_step_result("a").error
    assert result.get_step_result("a").attempts == 1


async def test_parallel_steps_that_change_one_key_warn(agent):
    both = asyncio.Barrier(2)

    async def left(agent, step, context):
        await both.wait()
        context["key"] = "left"

    async def right(agent, step, context):
        await both.wait()
        context["key"] = "right"

    workflow = agent.create_workflow("w")
    for name, handler in (("left", left), ("right", right)):
        agent.register_handler(name, handler)
        workflow.add_step(name, handler=name)
    events = [event async for event in agent.stream_workflow(workflow)]
    (warning,) = [event for event in events if event.type == "warning"]
    assert warning.key == "key"


async def test_to_cancel_the_caller_interrupts_the_handler(agent):
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def forever(agent, step, context):
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    task = asyncio.create_task(agent.execute_workflow(chain(agent, forever=forever)))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(5):
        await cancelled.wait()


async def test_a_step_that_never_returns_ends_at_its_timeout(agent):
    async def forever(agent, step, context):
        await asyncio.Event().wait()

    agent.register_handler("forever", forever)
    workflow = agent.create_workflow("w")
    workflow.add_step("a", handler="forever", timeout=0.1, max_retries=1)
    result = await agent.execute_workflow(workflow)
    assert result.get_step_result("a").attempts == 2
    assert "longer than 0.1" in result.get_step_result("a").error


async def test_fifty_runs_at_once_share_a_worker(agent, server):
    async def double(agent, step, context):
        await asyncio.sleep(0.01)
        return context["n"] * 2

    workflow = chain(agent, double=double)
    results = await asyncio.gather(*(agent.execute_workflow(workflow, {"n": n}) for n in range(50)))
    assert [result.context["double_result"] for result in results] == [2 * n for n in range(50)]


def test_one_agent_in_two_threads_runs_each_handler_on_the_loop_of_its_caller(agent):
    async def where(agent, step, context):
        return threading.get_ident()

    workflow = chain(agent, where=where)

    def run(_):
        result = asyncio.run(agent.execute_workflow(workflow))
        return result.context["where_result"] == threading.get_ident()

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        assert list(pool.map(run, range(6))) == [True] * 6


async def test_handlers_that_are_registered_while_others_run_are_hosted_too(agent):
    waiting, proceed = asyncio.Event(), asyncio.Event()

    async def wait(agent, step, context):
        waiting.set()
        await proceed.wait()
        return "waited"

    first = asyncio.create_task(agent.execute_workflow(chain(agent, wait=wait)))
    await waiting.wait()
    assert (await agent.execute_workflow(chain(agent, late=lambda agent, step, context: 1))).successful
    proceed.set()
    assert (await first).context["wait_result"] == "waited"


async def test_a_fleet_serves_a_named_queue(agent, server):
    fleet = WorkflowAgent(name="fleet", target=server.target)
    fleet.register_handler("who", lambda agent, step, context: agent.name)
    serving = asyncio.create_task(fleet.run_worker("test-fleet", concurrency=2))
    try:
        workflow = agent.create_workflow("w")
        workflow.add_step("who", handler="who", queue="test-fleet")
        async with asyncio.timeout(20):
            while True:
                try:
                    result = await agent.execute_workflow(workflow)
                    break
                except WorkflowValidationError:  # the fleet is not there yet
                    await asyncio.sleep(0.02)
        assert result.context["who_result"] == "fleet"
    finally:
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving


async def test_a_worker_without_handlers_is_refused(server):
    with pytest.raises(ValidationError, match="nothing to serve"):
        await WorkflowAgent(target=server.target).run_worker("q")


DIES = """
    import asyncio, os, sys
    from headwater.workflow import WorkflowAgent

    async def die(agent, step, context):
        print("dying", flush=True)
        os._exit(9)

    agent = WorkflowAgent()
    agent.register_handler("first", lambda agent, step, context: "kept")
    agent.register_handler("second", die)
    workflow = agent.create_workflow("w")
    workflow.add_step("first", handler="first")
    workflow.add_step("second", handler="second", depends_on=["first"])

    async def main():
        handle = await agent.start_workflow(workflow, {"given": 1})
        print(handle.id, flush=True)
        await handle.result()

    asyncio.run(main())
"""


def run_script(script: str, target: str) -> subprocess.CompletedProcess[str]:
    path = str(Path(headwater.__file__).parents[1])
    return subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", textwrap.dedent(script)],
        capture_output=True, text=True, timeout=50, check=False,
        env=clean_environment(HEADWATER_TARGET=target, PYTHONPATH=path),
    )  # fmt: skip


async def test_a_second_process_resumes_the_run_of_one_that_died(impatient):
    server = impatient
    done = await asyncio.to_thread(run_script, DIES, server.target)
    assert done.returncode == 9, done.stderr
    run_id = done.stdout.split()[0]
    agent = WorkflowAgent(target=server.target)
    with pytest.raises(WorkflowValidationError) as caught:
        await agent.resume_workflow(run_id)
    assert [path for path, _ in caught.value.violations] == ["workflow.steps[0].handler", "workflow.steps[1].handler"]
    again = []
    agent.register_handler("first", lambda agent, step, context: again.append(step.name))
    agent.register_handler("second", lambda agent, step, context: context["first_result"] + "!")
    result = await agent.resume_workflow(run_id)
    assert result.context == {"given": 1, "first_result": "kept", "second_result": "kept!"}
    assert again == []
    assert result.get_step_result("second").attempts >= 2


LEAVES = """
    import asyncio
    from headwater.workflow import WorkflowAgent

    async def forever(agent, step, context):
        await asyncio.Event().wait()

    agent = WorkflowAgent()
    agent.register_handler("forever", forever)
    workflow = agent.create_workflow("w")
    workflow.add_step("a", handler="forever")

    async def main():
        async for event in agent.stream_workflow(workflow):
            if event.type == "step_started":
                print(event.run_id)
                break

    asyncio.run(main())
"""


async def test_a_program_that_leaves_a_stream_and_ends_has_cancelled_the_run(server):
    done = await asyncio.to_thread(run_script, LEAVES, server.target)
    assert done.returncode == 0, done.stderr
    assert "never" not in done.stderr  # awaited, or retrieved
    assert "destroyed" not in done.stderr
    result = await WorkflowAgent(target=server.target).get_workflow_status(done.stdout.strip())
    assert result.status is StepStatus.CANCELLED


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 0)])
async def test_execute_carries_on_over_a_server_that_is_killed_or_restarted(tmp_path, number, code):
    runs = []
    restarted = asyncio.Event()

    async def first(agent, step, context):
        runs.append("first")
        return 1

    async def second(agent, step, context):
        runs.append("second")
        await restarted.wait()
        return step.attempt

    variables = {"HEADWATER_DATA_DIR": str(tmp_path), "HEADWATER_DRAIN_SECONDS": "0.1"}
    with ServerProcess("--scripted", variables=variables) as server:
        server.expected_code = code
        port = server.target.rpartition(":")[2]
        agent = WorkflowAgent(target=server.target)
        context = {"given": 1}
        task = asyncio.create_task(agent.execute_workflow(chain(agent, first=first, second=second), context))
        while "second" not in runs:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(server.stop, number)
    with ServerProcess("--scripted", "--port", port, variables=variables):
        restarted.set()
        result = await task
    assert result.successful
    # The attempt that ran over the restart is delivered; no other begins.
    assert context == {"given": 1, "first_result": 1, "second_result": 1}
    assert runs == ["first", "second"]


async def test_a_failed_run_is_resumed_with_a_mended_handler(agent):
    def broken(agent, step, context):
        raise NonRetryableError("broken")

    result = await agent.execute_workflow(chain(agent, a=lambda agent, step, context: 1, b=broken))
    assert not result.successful
    agent.register_handler("b", lambda agent, step, context: context["a_result"] + 1)
    result = await agent.resume_workflow(result.run_id)
    assert result.context == {"a_result": 1, "b_result": 2}


async def test_a_thousand_steps_in_twenty_branches(agent):
    async def add(agent, step, context):
        return context.get(f"{step.depends_on[0]}_result", 0) + 1 if step.depends_on else 1

    agent.register_handler("add", add)
    workflow = agent.create_workflow("wide")
    for number in range(1000):
        workflow.add_step(f"s{number}", handler="add", depends_on=[f"s{number - 20}"] if number >= 20 else [])
    result = await agent.execute_workflow(workflow)
    assert result.successful
    assert sum(result.context.values()) == 20 * sum(range(1, 51))


user = contextvars.ContextVar("user", default="nobody")


async def test_a_handler_never_sees_the_context_variables_of_another_caller(agent):
    both = asyncio.Barrier(2)

    async def who(agent, step, context):
        await both.wait()
        return user.get()

    workflow = chain(agent, who=who)

    async def request(name: str) -> str:
        user.set(name)
        return (await agent.execute_workflow(workflow)).context["who_result"]

    assert await asyncio.gather(request("alice"), request("bob")) == ["nobody", "nobody"]


def test_a_handle_whose_event_loop_has_ended_says_how_to_go_on(agent):
    async def forever(agent, step, context):
        await asyncio.Event().wait()

    workflow = chain(agent, forever=forever)
    handle = asyncio.run(agent.start_workflow(workflow))
    with pytest.raises(WorkflowError, match=f"resume_workflow.'{handle.id}'"):
        asyncio.run(handle.result())
    asyncio.run(handle.cancel())
