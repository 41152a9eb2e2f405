"""Reports from the field on workers: heartbeats, deploys and restarts. Each test is one report, its link in the text."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from headwater._grpc.origin import origin
from headwater.agent import Agent
from headwater.exceptions import ValidationError
from headwater.workflow import RetryPolicy, Workflow, WorkflowAgent, WorkflowEventType
from tests.support.servers.server import ServerProcess, clean_environment


async def test_a_tool_that_blocks_its_loop_does_not_stop_the_heartbeats_of_a_worker_in_the_same_process() -> None:
    """https://github.com/hatchet-dev/hatchet-python/issues/32, https://github.com/hatchet-dev/hatchet/issues/2432"""
    begun = threading.Event()
    attempts = []

    async def slow(x: str) -> str:
        """Blocks."""
        begun.set()
        time.sleep(2.5)  # noqa: ASYNC251  the mistake of the report
        return "slow"

    with ServerProcess("--scripted", variables={"HEADWATER_WORKER_TIMEOUT_SECONDS": "0.5"}) as server:
        chat = Agent(model="scripted/echo", tools=[slow], history=0, target=server.target)
        script = {"tool_calls": [{"name": "slow", "arguments": {"x": "a"}}], "after_tools": {"text": "done"}}

        def talk() -> None:
            chat.run("go", provider_options={"scripted": script})

        talking = threading.Thread(target=talk)

        def work(agent: Any, step: Any, context: Any) -> str:
            attempts.append(step.attempt)
            talking.start()
            assert begun.wait(10)
            talking.join(30)
            return "ok"

        agent = WorkflowAgent(target=server.target)
        agent.register_handler("work", work)
        workflow = agent.create_workflow("w")
        workflow.add_step("work", handler="work", max_retries=0)
        result = await asyncio.wait_for(agent.execute_workflow(workflow), 30)
    assert (result.successful, attempts) == (True, [1]), result.error


JOBS = """
import pathlib, time
from headwater import WorkflowAgent

def work(agent, step, context):
    with open("log", "a") as log:
        log.write(f"begin {step.attempt}\\n")
        log.flush()
        while not pathlib.Path("finish").exists():
            time.sleep(0.01)
        log.write(f"end {step.attempt}\\n")
    return "ok"

agent = WorkflowAgent()
agent.register_handler("work", work)
"""


class WorkerProcess:
    """`headwater worker` for the agent in `jobs.py` of a folder."""

    def __init__(self, folder: Path, target: str, *options: str) -> None:
        (folder / "jobs.py").write_text(JOBS)
        self.log = folder / "log"
        self.log.touch()
        command = [sys.executable, "-m", "headwater.cli", "worker", "jobs:agent", "--queue", "q", *options]
        self.process = subprocess.Popen(command, cwd=folder, env=clean_environment(HEADWATER_TARGET=target))

    async def until_begun(self, attempt: int) -> None:
        while f"begin {attempt}" not in self.log.read_text():
            assert self.process.poll() is None
            await asyncio.sleep(0.02)

    async def end(self) -> int:
        self.process.terminate()
        return await asyncio.to_thread(self.process.wait, 20)


def one_step(agent: WorkflowAgent, retries: int, queue: str = "q") -> Workflow:
    workflow = agent.create_workflow("w")
    workflow.add_step("work", handler="work", queue=queue, max_retries=retries)
    return workflow


async def test_a_worker_that_gets_sigterm_finishes_its_step(server: ServerProcess, tmp_path: Path) -> None:
    """https://github.com/hatchet-dev/hatchet/issues/3308, https://github.com/temporalio/roadrunner-temporal/issues/276"""
    first = WorkerProcess(tmp_path, server.target)
    agent = WorkflowAgent(target=server.target)
    running = asyncio.create_task(agent.execute_workflow(one_step(agent, retries=0)))
    await first.until_begun(1)
    ending = asyncio.create_task(first.end())
    await asyncio.sleep(0.2)  # the longer, the more a worker that does not finish its step would show
    (tmp_path / "finish").touch()
    result = await asyncio.wait_for(running, 30)
    assert await ending == 0
    assert (result.successful, first.log.read_text()) == (True, "begin 1\nend 1\n")


async def test_a_step_that_outlasts_the_draining_of_its_worker_costs_no_attempt(
    server: ServerProcess, tmp_path: Path
) -> None:
    """https://github.com/atlanhq/application-sdk/issues/1681"""
    worker = WorkerProcess(tmp_path, server.target, "--drain-seconds", "0.1")
    agent = WorkflowAgent(target=server.target)
    running = asyncio.create_task(agent.execute_workflow(one_step(agent, retries=1)))
    await worker.until_begun(1)
    for attempt in (2, 3):
        assert await worker.end() == 0
        worker = WorkerProcess(tmp_path, server.target, "--drain-seconds", "0.1")
        await worker.until_begun(attempt)
    (tmp_path / "finish").touch()
    result = await asyncio.wait_for(running, 30)
    assert await worker.end() == 0
    assert result.successful, result.error
    assert worker.log.read_text().splitlines()[-1] == "end 3"


async def test_a_run_whose_queue_has_no_worker_yet_waits_for_one(server: ServerProcess) -> None:
    """https://github.com/hatchet-dev/hatchet/issues/740, https://github.com/hatchet-dev/hatchet/issues/1353"""
    agent = WorkflowAgent(target=server.target)
    handle = await agent.start_workflow(one_step(agent, retries=0, queue="nobody-yet"))
    fleet = WorkflowAgent(target=server.target)
    fleet.register_handler("work", lambda agent, step, context: "ok")
    stop = asyncio.Event()
    serving = asyncio.create_task(fleet.run_worker(queue="nobody-yet", stop=stop))
    result = await asyncio.wait_for(handle.result(), 30)
    warnings = [event.error async for event in handle.events() if event.type is WorkflowEventType.WARNING]
    stop.set()
    await serving
    assert result.successful, result.error
    assert warnings == [
        "no worker of queue `nobody-yet` has ever registered a handler `work`, nor any other; start a worker for it"
    ]


async def test_a_restart_of_the_server_alone_does_not_run_the_step_of_a_healthy_worker_twice(tmp_path: Path) -> None:
    """https://github.com/hatchet-dev/hatchet/issues/4784"""
    begun, finish = [], threading.Event()
    began = threading.Event()

    def work(agent: Any, step: Any, context: Any) -> int:
        begun.append(step.attempt)
        began.set()
        assert finish.wait(30)
        return 1

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    options = ("--scripted", "--data-dir", str(tmp_path), "--port", port)
    with ServerProcess(*options, variables={"HEADWATER_DRAIN_SECONDS": "0.2"}) as first:
        agent = WorkflowAgent(target=first.target)
        agent.register_handler("work", work)
        workflow = agent.create_workflow("w")
        workflow.add_step("work", handler="work")
        running = asyncio.create_task(agent.execute_workflow(workflow))
        assert await asyncio.to_thread(began.wait, 10)
        await asyncio.to_thread(first.stop)
    with ServerProcess(*options):
        finish.set()
        result = await asyncio.wait_for(running, 30)
    assert (result.successful, begun) == (True, [1]), result.error


async def test_an_order_that_is_submitted_twice_starts_one_run(server: ServerProcess) -> None:
    """https://github.com/KeeperHub/keeperhub/issues/1532, https://github.com/vercel/workflow/issues/2011"""
    payments = []
    for _ in range(2):
        agent = WorkflowAgent(target=server.target)
        agent.register_handler("work", lambda agent, step, context: payments.append(step.idempotency_key))
        workflow = agent.create_workflow("order")
        workflow.add_step("work", handler="work")
        result = await agent.execute_workflow(workflow, {"order": 7}, request_id="order-7")
        assert result.successful, result.error
    with pytest.raises(ValidationError, match="request_id"):
        await agent.start_workflow(workflow, {"order": 8}, request_id="order-7")
    with pytest.raises(ValidationError, match="request_id"):
        await agent.start_workflow(workflow, request_id="")
    assert payments == [f"{result.run_id}/{payments[0].rpartition('/')[2]}"]


async def test_a_sync_handler_learns_that_its_run_was_cancelled(server: ServerProcess) -> None:
    """https://github.com/temporalio/sdk-python/issues/217, https://github.com/dust-tt/dust/issues/4272"""
    begun, stopped = threading.Event(), threading.Event()

    def loop(agent: Any, step: Any, context: Any) -> str:
        begun.set()
        while not step.cancelled:
            time.sleep(0.005)
        stopped.set()
        return "stopped"

    agent = WorkflowAgent(target=server.target)
    agent.register_handler("loop", loop)
    workflow = agent.create_workflow("w")
    workflow.add_step("loop", handler="loop")
    handle = await agent.start_workflow(workflow)
    assert await asyncio.to_thread(begun.wait, 10)
    await handle.cancel()
    assert await asyncio.to_thread(stopped.wait, 10)


async def test_a_handler_has_a_key_that_is_the_same_in_each_attempt(server: ServerProcess) -> None:
    """https://github.com/vercel/workflow/issues/19, https://github.com/triggerdotdev/trigger.dev/issues/4953"""
    keys: list[tuple[str, int, str]] = []

    def pay(agent: Any, step: Any, context: Any) -> None:
        keys.append((step.name, step.attempt, step.idempotency_key))
        if step.attempt == 1:
            raise OSError("lost the answer")

    agent = WorkflowAgent(target=server.target)
    agent.register_handler("pay", pay)
    workflow = agent.create_workflow("order")
    for name in ("deposit", "rest"):
        workflow.add_step(name, handler="pay", retry_policy=RetryPolicy(initial_delay=0))
    result = await agent.execute_workflow(workflow)
    assert result.successful, result.error
    assert sorted((name, attempt) for name, attempt, _ in keys) == [
        (name, attempt) for name in ("deposit", "rest") for attempt in (1, 2)
    ]
    assert len({(name, key) for name, _, key in keys}) == len({key for _, _, key in keys}) == 2
    assert all(key.startswith(result.run_id) for _, _, key in keys)


async def test_a_step_that_is_at_most_once_does_not_run_again_when_the_server_was_killed(tmp_path: Path) -> None:
    """https://github.com/temporalio/roadrunner-temporal/issues/276,
    https://github.com/Azure/azure-functions-durable-extension/issues/3323
    """
    begun, finish = [], asyncio.Event()
    began = asyncio.Event()

    async def pay(agent: Any, step: Any, context: Any) -> str:
        begun.append(step.attempt)
        began.set()
        await finish.wait()
        return "paid"

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    options = ("--scripted", "--data-dir", str(tmp_path), "--port", port)
    with ServerProcess(*options) as first:
        first.expected_code = -signal.SIGKILL
        agent = WorkflowAgent(target=first.target)
        agent.register_handler("pay", pay)
        workflow = agent.create_workflow("w")
        workflow.add_step("pay", handler="pay", max_retries=0)
        running = asyncio.create_task(agent.execute_workflow(workflow))
        await asyncio.wait_for(began.wait(), 10)
        await asyncio.to_thread(first.stop, signal.SIGKILL)
    with ServerProcess(*options):
        finish.set()
        result = await asyncio.wait_for(running, 40)
    assert (result.context, begun) == ({"pay_result": "paid"}, [1]), result.error


async def test_the_next_attempt_continues_from_the_progress_of_the_last_and_watchers_see_it(
    server: ServerProcess,
) -> None:
    """https://github.com/temporalio/sdk-python/issues/217, https://github.com/hatchet-dev/hatchet/issues/3308"""
    rows = []

    def load(agent: Any, step: Any, context: Any) -> int:
        for row in range((step.last_progress or {"row": -1})["row"] + 1, 6):
            rows.append((step.attempt, row))
            step.heartbeat({"row": row})
            if row == 3 and step.attempt == 1:
                raise ConnectionError("lost")
        return len(rows)

    agent = WorkflowAgent(target=server.target)
    agent.register_handler("load", load)
    workflow = agent.create_workflow("w")
    workflow.add_step("load", handler="load", max_retries=1)
    stream = agent.stream_workflow(workflow)
    seen = [event.progress async for event in stream if event.type is WorkflowEventType.STEP_PROGRESS]
    assert rows == [(1, 0), (1, 1), (1, 2), (1, 3), (2, 4), (2, 5)]
    assert seen[-1] == {"row": 5}
    assert stream.result is not None
    assert stream.result.step_results["load"].progress == {"row": 5}


async def test_the_request_id_of_a_run_goes_into_its_steps_and_the_calls_that_they_make(server: ServerProcess) -> None:
    """https://github.com/temporalio/sdk-python/issues/217"""
    headers = (("x-request-id", "order-7"), ("traceparent", f"00-{'a' * 32}-{'b' * 16}-01"))
    seen = {}

    async def parent(agent: WorkflowAgent, step: Any, context: Any) -> str:
        seen["parent"] = (step.request_id, step.traceparent)
        child = agent.create_workflow("child")
        child.add_step("leaf", handler="leaf")
        return (await agent.execute_workflow(child)).run_id

    def leaf(agent: WorkflowAgent, step: Any, context: Any) -> None:
        seen["leaf"] = (step.request_id, step.traceparent)
        reply = agent.run("hi", model="scripted/echo", tools=[])
        assert reply.content

    agent = WorkflowAgent(target=server.target)
    agent.register_handler("parent", parent)
    agent.register_handler("leaf", leaf)
    workflow = agent.create_workflow("w")
    workflow.add_step("parent", handler="parent")
    before = origin.set(headers)
    result = await agent.execute_workflow(workflow)
    origin.reset(before)
    assert result.successful, result.error
    assert seen == dict.fromkeys(("parent", "leaf"), ("order-7", headers[1][1]))
    logged: set[str] = set()
    async with asyncio.timeout(10):  # the log is written on a thread
        while not {"StartWorkflowRun", "Stream"} <= logged:
            await asyncio.sleep(0.01)
            lines = [line for line in server.events if line.get("request_id") == "order-7"]
            logged = {line["rpc"].rpartition("/")[2] for line in lines if "rpc" in line}


POISON = """
import os
from headwater import WorkflowAgent

def die(agent, step, context):
    with open("log", "a") as log:
        log.write(f"{step.attempt}\\n")
    os._exit(9)

agent = WorkflowAgent()
agent.register_handler("work", die)
"""


async def test_a_step_that_kills_its_worker_each_time_ends_when_its_attempts_are_used_up(tmp_path: Path) -> None:
    """https://github.com/villasv/aws-airflow-stack/issues/65"""
    (tmp_path / "jobs.py").write_text(POISON)

    async def supervise(target: str) -> None:
        command = (sys.executable, "-m", "headwater.cli", "worker", "jobs:agent", "--queue", "q")
        while True:
            process = await asyncio.create_subprocess_exec(
                *command,
                cwd=tmp_path,
                stderr=asyncio.subprocess.DEVNULL,
                env=clean_environment(HEADWATER_TARGET=target),
            )
            try:
                await process.wait()
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()

    with ServerProcess("--scripted", variables={"HEADWATER_WORKER_TIMEOUT_SECONDS": "1"}) as server:
        agent = WorkflowAgent(target=server.target)
        supervising = asyncio.create_task(supervise(server.target))
        result = await asyncio.wait_for(agent.execute_workflow(one_step(agent, retries=1)), 50)
        supervising.cancel()
        await asyncio.wait([supervising])
    assert (result.status, (tmp_path / "log").read_text().split()) == ("failed", ["1", "2"])
    assert "its worker was lost" in (result.step_results["work"].error or "")
