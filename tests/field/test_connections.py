"""Public reports about connections that are gone without a word, and about Ctrl-C: each test names its reports."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from headwater import Agent, StreamInterruptedError, WorkflowAgent
from headwater._call import resuming
from headwater._grpc import channels
from tests.support.servers.server import ServerProcess, clean_environment


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that looks after a silent peer in one second, where it waits half a minute otherwise."""
    short = {"grpc.keepalive_time_ms": 500, "grpc.http2.ping_timeout_ms": 500}
    monkeypatch.setattr(
        channels, "_OPTIONS", tuple((name, short.get(name, value)) for name, value in channels._OPTIONS)
    )


@pytest.mark.usefixtures("impatient")
async def test_a_server_that_freezes_in_mid_stream_is_an_interruption_with_the_partial_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """https://github.com/GitHubSecurityLab/seclab-taskflow-agent/issues/212,
    https://github.com/microsoft/durabletask-dotnet/issues/708
    """
    monkeypatch.setattr(resuming, "RESUME_SECONDS", 0.3)
    with ServerProcess("--scripted") as server:
        agent = Agent(model="scripted/story", target=server.target, history=0)
        text = ""
        try:
            with pytest.raises(StreamInterruptedError) as caught:
                async for chunk in agent.stream("x"):
                    text += chunk.content
                    server.process.send_signal(signal.SIGSTOP)
        finally:
            server.process.send_signal(signal.SIGCONT)
    assert text
    assert caught.value.partial_response == text


class Network:
    """Passes bytes between clients and a server. `swallow` loses those of the connections that are there, without RST."""

    def __init__(self, target: str) -> None:
        self._server = ("127.0.0.1", int(target.rpartition(":")[2]))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._swallowed = threading.Event()  # of the connections that are there
        self._sockets = [self._listener]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()
        self.target = f"127.0.0.1:{self._listener.getsockname()[1]}"

    def swallow(self) -> None:
        self._swallowed.set()
        self._swallowed = threading.Event()

    def close(self) -> None:
        for each in self._sockets:
            each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._server)
            self._sockets += [client, server]
            for source, sink in ((client, server), (server, client)):
                pump = threading.Thread(target=_pump, args=(source, sink, self._swallowed))
                self._threads.append(pump)
                pump.start()


def _pump(source: socket.socket, sink: socket.socket, swallowed: threading.Event) -> None:
    try:
        while data := source.recv(65_536):
            if not swallowed.is_set():
                sink.sendall(data)
    except OSError:
        return  # closed at the end of the test


@contextmanager
def network(target: str) -> Iterator[Network]:
    made = Network(target)
    try:
        yield made
    finally:
        made.close()


@pytest.mark.usefixtures("impatient")
async def test_a_run_comes_back_when_its_connections_are_swallowed(server: ServerProcess) -> None:
    """https://github.com/microsoft/durabletask-dotnet/issues/708"""
    begun, finish = asyncio.Event(), asyncio.Event()
    attempts = []

    async def work(agent: Any, step: Any, context: Any) -> str:
        attempts.append(step.attempt)
        begun.set()
        await finish.wait()
        return "ok"

    with network(server.target) as between:
        agent = WorkflowAgent(target=between.target)
        agent.register_handler("work", work)
        workflow = agent.create_workflow("w")
        workflow.add_step("work", handler="work")
        running = asyncio.create_task(agent.execute_workflow(workflow))
        await asyncio.wait_for(begun.wait(), 20)
        between.swallow()
        finish.set()
        result = await asyncio.wait_for(running, 40)
    assert (result.successful, attempts) == (True, [1]), result.error


BLOCKED = """
import asyncio, sys, time
from headwater import WorkflowAgent

def block(agent, step, context):
    print(step.run_id, flush=True)
    time.sleep(60)

async def main():
    agent = WorkflowAgent(target=sys.argv[1])
    agent.register_handler("block", block)
    workflow = agent.create_workflow("w")
    workflow.add_step("block", handler="block")
    await agent.execute_workflow(workflow)

asyncio.run(main())
"""


async def test_ctrl_c_ends_a_program_whose_handler_blocks_and_its_run(server: ServerProcess, tmp_path: Path) -> None:
    """https://github.com/swyddfa/lsp-devtools/issues/229, https://github.com/modal-labs/synchronicity/issues/56"""
    program = tmp_path / "program.py"
    program.write_text(BLOCKED)
    with subprocess.Popen(
        [sys.executable, program, server.target],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environment(),
    ) as process:  # fmt: skip
        assert process.stdout is not None
        run_id = (await asyncio.to_thread(process.stdout.readline)).strip()
        process.send_signal(signal.SIGINT)
        _, errors = await asyncio.to_thread(process.communicate, None, 20)
    assert errors.strip().endswith("KeyboardInterrupt")
    run = await WorkflowAgent(target=server.target).get_workflow_status(run_id)
    assert run.status == "cancelled"
