"""The life of a server of several processes: its start, deaths of all kinds, its end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from headwater.v1 import agent_service_pb2
from headwater.v1.agent_pb2 import StreamChunk
from headwater.v1.agent_service_pb2_grpc import AgentServiceStub
from headwater.workflow import StepStatus, WorkflowAgent
from tests.support.servers.processes import channel_to, connect_client, pid_of
from tests.support.servers.server import ServerProcess, clean_environment, run_cli

SERVING = health_pb2.HealthCheckResponse.SERVING


class Processes(ServerProcess):
    """`headwater serve --scripted --processes 2`, with all it writes in one folder."""

    def __init__(self, folder: Path, *args: str, **variables: str) -> None:
        self.folder = folder
        (folder / "tmp").mkdir(exist_ok=True)
        variables = {"HEADWATER_DATA_DIR": str(folder / "data"), "TMPDIR": str(folder / "tmp"), **variables}
        super().__init__("--scripted", *args, variables=variables, processes=2)

    @property
    def port(self) -> int:
        return int(self.target.rpartition(":")[2])

    async def pid(self, index: int, start: int = 1) -> int:
        return await pid_of(self, index, start)

    async def logged(self, event: str, times: int = 1) -> None:
        while [each["event"] for each in self.events].count(event) < times:
            await asyncio.sleep(0.01)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    with Processes(tmp_path) as server:
        yield server


async def begun(channel: grpc.aio.Channel, **scripted: object) -> AsyncIterator[StreamChunk]:
    """A stream that has given its first chunk."""
    request = agent_service_pb2.StreamRequest(prompt="x", agent={"model": "scripted/echo"})
    request.agent.provider_options["scripted"].update(scripted)
    chunks = aiter(AgentServiceStub(channel).Stream(request))
    assert (await anext(chunks)).content == "one"
    return chunks


async def rest(chunks: AsyncIterator[StreamChunk]) -> str:
    return "".join([chunk.content async for chunk in chunks])


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


async def test_each_process_answers_at_the_port_and_says_that_it_is_healthy(processes):
    for index in (0, 1):
        async with channel_to(processes.target, index) as channel:
            answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
            assert answer.status == SERVING


def test_the_settings_are_in_no_command_line_and_every_line_of_a_process_names_it(tmp_path):
    with Processes(tmp_path, OPENAI_API_KEY="sk-zanzibar") as server:
        family = [psutil.Process(server.process.pid), *psutil.Process(server.process.pid).children()]
        assert len(family) == 3
        assert "zanzibar" not in str([process.cmdline() for process in family])
        server.stop()
        said = {(event["event"], event["process"]) for event in server.events}
    events = ("listening", "process ready", "draining", "stopped")
    assert said == {(event, index) for event in events for index in (0, 1)}


def test_one_process_needs_no_supervisor():
    with ServerProcess("--processes", "1", fresh=True) as server:
        assert psutil.Process(server.process.pid).children() == []


@pytest.mark.parametrize("count", ["0", "65", "many"])
def test_a_number_of_processes_that_cannot_be_is_named(count):
    done = run_cli("serve", variables={"HEADWATER_PROCESSES": count})
    assert (done.returncode, done.stderr.count("\n")) == (78, 1)
    assert done.stderr.startswith("headwater: HEADWATER_PROCESSES: ")


@pytest.mark.parametrize("count", ["1", "2"])
def test_a_second_server_is_refused_the_port(processes, count):
    done = run_cli("serve", "--port", str(processes.port), "--processes", count)
    words = f"cannot listen on 127.0.0.1:{processes.port}: Address already in use; choose with --host and --port"
    assert (done.returncode, done.stderr) == (1, f"headwater: {words}\n")


def last_line(*args: str, **variables: str) -> tuple[int, str, str]:
    done = run_cli("serve", "--port", "0", "--scripted", *args, variables=variables)
    return done.returncode, done.stdout, done.stderr.splitlines()[-1]


def test_a_start_that_fails_ends_with_the_words_of_a_single_process(processes, tmp_path):
    locked = {"HEADWATER_DATA_DIR": str(tmp_path / "data")}
    for args, variables, expected in [("--default-model", "nobody/none"), {}, 78], [(), locked, 1]:
        code, out, error = last_line(*args, "--processes", "2", **variables)
        assert (code, out, error.startswith("headwater: ")) == (expected, "", True)
        assert error == last_line(*args, **variables)[2]


async def test_a_killed_process_cuts_its_own_streams_alone_and_comes_back(processes):
    async with (
        channel_to(processes.target, 0) as zero,
        channel_to(processes.target, 1) as one,
    ):
        stays, cut = await begun(zero, text="one two", delay_ms=400), await begun(one, text="one two", hang_after=1)
        os.kill(await processes.pid(1), signal.SIGKILL)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await rest(cut)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert await rest(stays) == " two"
        answer = await health_pb2_grpc.HealthStub(zero).Check(health_pb2.HealthCheckRequest())
        assert answer.status == SERVING
    await processes.pid(1, start=2)
    async with channel_to(processes.target, 1):
        pass  # it streams again


async def test_a_run_goes_on_when_the_process_that_has_it_is_killed(processes):
    """The client has come to process 1, the run is process 0's: it hears of the death by the silence of its calls."""
    await connect_client(processes.target, 1)
    killed = asyncio.Event()
    tries = []

    async def first(agent, step, context):
        tries.append("first")
        return 1

    async def second(agent, step, context):
        tries.append("second")
        await killed.wait()
        return context["first_result"] + 1

    agent = WorkflowAgent(target=processes.target)
    workflow = agent.create_workflow("survives")
    agent.register_handler("first", first)
    agent.register_handler("second", second)
    workflow.add_step("first", handler="first")
    workflow.add_step("second", handler="second", depends_on=["first"])
    running = asyncio.create_task(agent.execute_workflow(workflow))
    while "second" not in tries:
        await asyncio.sleep(0.01)
    os.kill(await processes.pid(0), signal.SIGKILL)
    await processes.pid(0, start=2)
    killed.set()
    result = await running
    assert result.status is StepStatus.COMPLETED
    assert result.get_step_result("second").result == 2
    assert tries.count("first") == 1


async def test_the_processes_of_a_killed_supervisor_finish_their_streams_and_give_the_port_free(tmp_path):
    async with AsyncExitStack() as stack:
        server = stack.enter_context(Processes(tmp_path))
        server.expected_code = -signal.SIGKILL
        calls = []
        for index in (0, 1):
            channel = await stack.enter_async_context(channel_to(server.target, index))
            calls.append(await begun(channel, text="one two", delay_ms=400))
        family = psutil.Process(server.process.pid).children()
        server.process.kill()
        assert [await rest(call) for call in calls] == [" two", " two"]
        gone, alive = await asyncio.to_thread(psutil.wait_procs, family, 20)
        assert (len(gone), alive) == (2, [])
        assert is_free(server.port)
        assert list((tmp_path / "tmp").iterdir()) == []


async def test_a_signal_lets_the_streams_of_all_processes_finish(tmp_path):
    with Processes(tmp_path) as server:
        async with channel_to(server.target, 0) as zero, channel_to(server.target, 1) as one:
            calls = [await begun(channel, text="one two", delay_ms=400) for channel in (zero, one)]
            server.process.send_signal(signal.SIGTERM)
            assert [await rest(call) for call in calls] == [" two", " two"]
        assert await asyncio.to_thread(server.process.wait, 20) == 0
        assert list((tmp_path / "tmp").iterdir()) == []
        assert is_free(server.port)


async def test_a_second_signal_ends_the_waiting_of_all_processes(tmp_path):
    with Processes(tmp_path, HEADWATER_DRAIN_SECONDS="600") as server:
        async with channel_to(server.target, 0) as zero, channel_to(server.target, 1) as one:
            calls = [await begun(channel, text="one two", hang_after=1) for channel in (zero, one)]
            server.process.send_signal(signal.SIGINT)
            await server.logged("draining", times=2)
            server.process.send_signal(signal.SIGINT)
            for call in calls:
                with pytest.raises(grpc.aio.AioRpcError, match="shut down"):
                    await rest(call)


@pytest.mark.parametrize("seconds", [0.3, 0.5, 0.7, 0.9, 1.1, 1.3])
def test_a_signal_at_any_moment_of_the_start_leaves_nothing_behind(tmp_path, seconds):
    command = [sys.executable, "-m", "headwater.cli", "serve", "--port", "0", "--processes", "2"]
    variables = clean_environment(TMPDIR=str(tmp_path))
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=variables) as server:
        time.sleep(seconds)  # at any moment of its work
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=30)  # ends when no process is left that could write
    assert server.returncode in (0, -signal.SIGTERM)
    assert [path for path in tmp_path.iterdir() if path.name != f"headwater-{os.getuid()}"] == []
