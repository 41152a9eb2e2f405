"""A server at `unix:PATH` is reached by that target, and leaves no file behind."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from headwater import Agent
from headwater.v1 import RunRequest
from tests.support.servers.processes import pid_of
from tests.support.servers.server import ServerProcess, run_cli
from tests.support.stubs.stub import agent_stub


async def answer(target: str) -> str:
    return (await Agent(model="scripted/echo", target=target).arun("x")).content


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("by", ["flag", "variable"])
async def test_the_client_and_health_checks_reach_it(tmp_path, processes, by):
    path = tmp_path / "hw.sock"
    args, variables = ([f"--host=unix:{path}"], {}) if by == "flag" else ([], {"HEADWATER_HOST": f"unix:{path}"})
    with ServerProcess("--scripted", *args, variables=variables, processes=processes) as server:
        assert server.target == f"unix:{path}"
        assert await answer(server.target) == "x"
        async with grpc.aio.insecure_channel(server.target) as channel:
            health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        assert stat.S_IMODE(path.stat().st_mode) & 0o022 == 0  # with the usual umask, no other user may connect
    events = server.events
    assert "open" not in [event["event"] for event in events]
    assert [event["host"] for event in events if event["event"] == "listening"] == [f"unix:{path}"] * processes
    assert not path.exists()


async def test_a_process_that_dies_leaves_the_socket_to_the_others(tmp_path):
    with ServerProcess("--scripted", "--host", f"unix:{tmp_path}/hw.sock", processes=2) as server:
        os.kill(await pid_of(server, 1), signal.SIGKILL)
        await pid_of(server, 1, start=2)
        for _ in range(5):
            async with agent_stub(server.target) as stub:
                assert (await stub.Run(RunRequest(prompt="x", agent={"model": "scripted/echo"}))).content == "x"


@pytest.mark.parametrize("written", ["unix:hw.sock", "unix:./hw.sock", "unix://{folder}/hw.sock"])
async def test_the_path_is_written_in_any_way_and_shown_as_it_is_reached_from_anywhere(tmp_path, monkeypatch, written):
    monkeypatch.chdir(tmp_path)
    with ServerProcess("--scripted", "--host", written.format(folder=tmp_path)) as server:
        assert server.target == f"unix:{tmp_path}/hw.sock"
        assert await answer(server.target) == "x"


@pytest.mark.parametrize("processes", [1, 2])
async def test_the_file_of_a_server_that_was_killed_is_replaced(tmp_path, processes):
    path = tmp_path / "hw.sock"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    with ServerProcess("--scripted", "--host", f"unix:{path}", processes=processes) as server:
        assert await answer(server.target) == "x"


@pytest.mark.parametrize("processes", ["1", "2"])
def test_the_file_of_a_server_that_listens_stays(tmp_path, processes):
    path = tmp_path / "hw.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        done = run_cli("serve", "--host", f"unix:{path}", "--processes", processes)
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(str(path))
    assert done.returncode == 1
    assert done.stderr == f"headwater: cannot listen on unix:{path}: Address already in use; choose with --host\n"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("file", "a file that is no socket is there"),
        ("missing/hw.sock", "No such file or directory"),
        ("x" * 108, "the path is longer than the 107 bytes of a socket"),
    ],
)
def test_a_path_that_cannot_be_listened_on_is_said_in_one_line(tmp_path, name, why):
    (tmp_path / "file").write_text("kept")
    done = run_cli("serve", "--host", f"unix:{tmp_path / name}")
    assert (done.returncode, done.stderr.count("\n")) == (78, 1)
    assert why in done.stderr
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("unix:", "unix: needs the path of a socket, unix:PATH"),
        ("unix://", "unix:// needs the path of a socket, unix:PATH"),
        ("unix-abstract:hw", "must be the name or the address of a host, or unix:PATH"),
        ("ipv4:127.0.0.1", "must be the name or the address of a host, or unix:PATH"),
    ],
)
def test_a_host_that_is_no_place_to_listen_is_a_mistake_in_the_settings(host, why):
    done = run_cli("serve", "--host", host)
    assert (done.returncode, done.stderr) == (78, f"headwater: --host: {why}\n")


async def test_the_umask_says_who_may_connect(tmp_path):
    path = tmp_path / "hw.sock"
    before = os.umask(0o007)
    try:
        server = ServerProcess("--scripted", "--host", f"unix:{path}", fresh=True)
        with server:
            assert stat.S_IMODE(path.stat().st_mode) == 0o770
    finally:
        os.umask(before)


async def test_a_server_that_drains_has_left_its_path_to_the_next_one(tmp_path):
    path = tmp_path / "hw.sock"
    options = {"scripted": {"text": "one two three", "delay_ms": 500}}
    with ServerProcess("--scripted", "--host", f"unix:{path}") as leaving:
        stream = Agent(model="scripted/echo", target=leaving.target).stream("x", provider_options=options)
        text = (await anext(stream)).content
        leaving.process.send_signal(signal.SIGTERM)
        while path.exists():
            await asyncio.sleep(0.01)
        with ServerProcess("--scripted", "--host", f"unix:{path}") as following:
            text += "".join([chunk.content async for chunk in stream])
            leaving.process.wait(20)
            assert text == "one two three"
            assert await answer(following.target) == "x"
