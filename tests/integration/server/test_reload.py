"""SIGHUP and `headwater reload`: providers, aliases and keys change under running streams, or nothing does."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from headwater.v1.agent_service_pb2 import ListModelsRequest, RunRequest, StreamRequest
from tests.support.servers.processes import channel_to, pid_of
from tests.support.servers.server import ServerProcess, run_cli
from tests.support.stubs.stub import AgentServiceStub, agent_stub, details
from tests.support.upstream.replay import ReplayServer

SCRIPTED = "[providers.scripted]\nenabled = true\n"
PROCESSES = pytest.mark.parametrize("processes", [1, 2])


def box(url: str, more: str = "") -> str:
    """A provider at an address."""
    return f'[providers.box]\ntype = "openai"\nbase_url = "{url}/v1"\ndefault_model = "m@openai-plain"\n{more}'


class Reloaded:
    """A server with a file of settings and a data directory."""

    def __init__(self, folder: Path, settings: str, processes: int = 1) -> None:
        self.file, self.data = folder / "headwater.toml", folder / "data"
        self.file.write_text(settings)
        flags = ("--config", str(self.file), "--data-dir", str(self.data))
        self.server = ServerProcess(*flags, processes=processes)

    async def reload(self, settings: str) -> subprocess.CompletedProcess[str]:
        """`headwater reload` with other settings."""
        self.file.write_text(settings)
        return await asyncio.to_thread(run_cli, "reload", "--data-dir", str(self.data))

    def events(self, name: str) -> list[dict[str, object]]:
        """The events of this name in the log so far."""
        return [event for event in self.server.events if event["event"] == name]


@contextmanager
def served(folder: Path, settings: str, processes: int = 1) -> Iterator[Reloaded]:
    reloaded = Reloaded(folder, settings, processes)
    with reloaded.server:
        yield reloaded


async def each_process(target: str, processes: int) -> AsyncIterator[AgentServiceStub]:
    """A stub of each process; `scripted` must be there."""
    for index in range(processes):
        async with channel_to(target, index) as channel:
            yield AgentServiceStub(channel)


@PROCESSES
async def test_new_requests_meet_the_new_settings_in_every_process(tmp_path, processes):
    async with ReplayServer() as first, ReplayServer() as second:
        with served(tmp_path, SCRIPTED + box(first.url), processes) as served_:
            alias = '[models.smart]\ntargets = ["box/m@openai-plain"]\n'
            done = await served_.reload(SCRIPTED + box(second.url) + alias)
            assert (done.returncode, done.stdout, done.stderr) == (0, "reloaded\n", "")
            async for stub in each_process(served_.server.target, processes):
                await stub.Run(RunRequest(prompt="x", agent={"model": "smart"}))
            assert [event["needs_restart"] for event in served_.events("reloaded")] == [[]]
        assert (len(first.records), len(second.records)) == (0, processes)


@PROCESSES
async def test_a_bad_file_changes_nothing_and_is_named(tmp_path, processes):
    with served(tmp_path, SCRIPTED, processes) as served_:
        done = await served_.reload('[models.smart]\ntargets = ["unheard-of"]\n[server]\nmax_attempts = 2\n')
        assert (done.returncode, done.stdout) == (78, "")
        where = f"models.smart.targets in {served_.file}: no provider here is known to have the model"
        assert done.stderr.startswith(f"headwater: {where}")
        async for stub in each_process(served_.server.target, processes):
            answer = await stub.Run(RunRequest(prompt="still here", agent={"model": "scripted/echo"}))
            assert answer.content == "still here"
        (event,) = served_.events("not reloaded")
        assert event["level"] == "error"
        assert str(event["why"]).startswith(f"['{where}")
        assert (await served_.reload(SCRIPTED)).returncode == 0


@PROCESSES
async def test_a_running_stream_goes_on_with_the_provider_that_it_began_with(tmp_path, processes):
    """The old provider holds its reply back until the reload is done."""
    async with ReplayServer(hold=2) as old, ReplayServer() as new:
        with served(tmp_path, box(old.url), processes) as served_:
            async with agent_stub(served_.server.target) as stub:
                stream = stub.Stream(StreamRequest(prompt="x", agent={"model": "box/m@openai-plain"}))
                text = (await stream.read()).content
                assert (await served_.reload(box(new.url))).returncode == 0
                whole = (await stub.Run(RunRequest(prompt="x", agent={"model": "box/m@openai-plain"}))).content
                old.go_on.set()
                while (chunk := await stream.read()) is not grpc.aio.EOF:
                    text += chunk.content
        assert text == whole
        assert (len(old.records), len(new.records)) == (1, 1)


async def test_the_old_provider_is_closed_when_its_last_stream_has_ended(tmp_path):
    """A connection that is kept for the next request ends then too."""
    async with ReplayServer() as old, ReplayServer(hold=2) as slow:
        both = box(old.url) + f'[providers.slow]\ntype = "openai"\nbase_url = "{slow.url}/v1"\n'
        with served(tmp_path, both) as served_:
            async with agent_stub(served_.server.target) as stub:
                stream = stub.Stream(StreamRequest(prompt="x", agent={"model": "slow/m@openai-plain"}))
                await stream.read()
                await stub.Run(RunRequest(prompt="x", agent={"model": "box/m@openai-plain"}))
                assert old.open_connections == 1
                # The connection is kept for 15 seconds only, and the start of a command may take some of them.
                served_.file.write_text(SCRIPTED)
                os.kill(served_.server.process.pid, signal.SIGHUP)
                while not served_.events("reloaded"):
                    await asyncio.sleep(0.02)
                assert old.open_connections == 1
                stream.cancel()
                async with asyncio.timeout(10):
                    await old.connections[0].left.wait()


async def test_a_provider_whose_settings_are_the_same_keeps_its_connection(tmp_path):
    async with ReplayServer() as same:
        with served(tmp_path, box(same.url)) as served_:
            async with agent_stub(served_.server.target) as stub:
                for settings in (box(same.url), SCRIPTED + box(same.url)):
                    await stub.Run(RunRequest(prompt="x", agent={"model": "box/m@openai-plain"}))
                    assert (await served_.reload(settings)).returncode == 0
                await stub.Run(RunRequest(prompt="x", agent={"model": "box/m@openai-plain"}))
        assert [record.connection for record in same.records] == [1, 1, 1]


async def test_a_key_moves_to_another_file(tmp_path):
    (tmp_path / "one").write_text("sk-one\n")
    (tmp_path / "two").write_text("sk-two\n")
    async with ReplayServer() as replay:
        with served(tmp_path, box(replay.url, f'api_key_file = "{tmp_path}/one"\n')) as served_:
            async with agent_stub(served_.server.target) as stub:
                await stub.Run(RunRequest(prompt="x", agent={"provider": "box"}))
                done = await served_.reload(box(replay.url, f'api_key_file = "{tmp_path}/two"\n'))
                await stub.Run(RunRequest(prompt="x", agent={"provider": "box"}))
            assert "sk-" not in served_.server.log + done.stdout + (served_.data / "reload.json").read_text()
        assert [record.headers["authorization"] for record in replay.records] == ["Bearer sk-one", "Bearer sk-two"]


@PROCESSES
async def test_settings_that_need_a_restart_are_named_and_the_others_hold(tmp_path, processes):
    with served(tmp_path, SCRIPTED, processes) as served_:
        more = '[server]\nmax_streams = 7\ndrain_seconds = 1\ndefault_model = "scripted/echo"\n'
        done = await served_.reload(more + SCRIPTED)
        assert done.stdout.splitlines() == [
            "reloaded",
            "server.drain_seconds has changed, which needs a restart",
            "server.max_streams has changed, which needs a restart",
        ]
        async for stub in each_process(served_.server.target, processes):
            assert (await stub.Run(RunRequest(prompt="hi"))).content == "hi"
        (event,) = served_.events("reloaded")
        assert event["needs_restart"] == ["server.drain_seconds", "server.max_streams"]


async def test_a_process_that_is_started_after_a_reload_has_the_new_settings(tmp_path):
    with served(tmp_path, SCRIPTED, 2) as served_:
        assert (await served_.reload(SCRIPTED + '[models.smart]\ntargets = ["scripted/echo"]\n')).returncode == 0
        os.kill(await pid_of(served_.server, 1), signal.SIGKILL)
        await pid_of(served_.server, 1, start=2)
        async with channel_to(served_.server.target, 1) as channel:
            models = await AgentServiceStub(channel).ListModels(ListModelsRequest())
        assert models.models[0].name == "smart"


@PROCESSES
async def test_a_signal_to_any_process_of_the_server_does_the_same(tmp_path, processes):
    with served(tmp_path, SCRIPTED, processes) as served_:
        served_.file.write_text(box("http://127.0.0.1:9"))
        os.kill(served_.server.process.pid if processes == 1 else await pid_of(served_.server, 1), signal.SIGHUP)
        while not served_.events("reloaded"):
            await asyncio.sleep(0.01)
        async with agent_stub(served_.server.target) as stub:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Run(RunRequest(prompt="x", agent={"model": "scripted/echo"}))
        assert details(caught.value)["ErrorInfo"].reason == "PROVIDER_NOT_FOUND"


def test_a_folder_without_a_server_is_told(tmp_path):
    done = run_cli("reload", "--data-dir", str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    cure = "name that of the server with --data-dir"
    assert done.stderr == f"headwater: no server uses the data directory {tmp_path}; {cure}\n"
