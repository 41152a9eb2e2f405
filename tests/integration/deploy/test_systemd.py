"""The unit of examples/deploy: the server tells systemd when it takes calls and that it lives, and every line is valid."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from headwater import Agent
from tests.support.servers.server import ServerProcess

UNIT = Path(__file__).parents[3] / "examples" / "deploy" / "headwater.service"


@pytest.mark.parametrize(("processes", "kind"), [(1, "path"), (2, "abstract")])
async def test_the_server_tells_systemd_when_it_takes_calls(processes, kind, tmp_path):
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(path if kind == "path" else f"\0{path}")
        systemd.settimeout(20)
        variables = {"NOTIFY_SOCKET": path if kind == "path" else f"@{path}"}
        with ServerProcess("--scripted", variables=variables, processes=processes, fresh=True) as server:
            assert systemd.recv(100) == b"READY=1"
            assert (await Agent(model="scripted/echo", target=server.target).arun("x")).content == "x"
        systemd.setblocking(False)
        with pytest.raises(BlockingIOError):
            systemd.recv(100)  # once, whatever the number of processes


async def test_a_socket_of_systemd_that_is_gone_is_a_warning(tmp_path):
    variables = {"NOTIFY_SOCKET": str(tmp_path / "gone")}
    with ServerProcess("--scripted", variables=variables, fresh=True) as server:
        assert (await Agent(model="scripted/echo", target=server.target).arun("x")).content == "x"
        server.stop()
        told = [event["level"] for event in server.events if event["event"] == "systemd not notified"]
    assert told == ["warning"]


@pytest.mark.parametrize("processes", [1, 2])
def test_the_watchdog_hears_a_server_until_its_event_loop_hangs(processes, tmp_path):
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(path)
        systemd.settimeout(20)
        variables = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "200000"}
        with ServerProcess("--scripted", variables=variables, processes=processes, fresh=True) as server:
            while systemd.recv(100) != b"READY=1":
                pass
            assert {systemd.recv(100) for _ in range(10)} == {b"WATCHDOG=1"}
            os.kill(server.process.pid, signal.SIGSTOP)
            try:
                while not stopped(server.process.pid):
                    time.sleep(0.01)
                assert silence_follows(systemd)
            finally:
                os.kill(server.process.pid, signal.SIGCONT)
            assert systemd.recv(100) == b"WATCHDOG=1"


async def test_a_watchdog_of_another_process_is_left_alone(tmp_path):
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(path)
        variables = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}
        with ServerProcess("--scripted", variables=variables, fresh=True) as server:
            assert (await Agent(model="scripted/echo", target=server.target).arun("x")).content == "x"
        assert systemd.recv(100) == b"READY=1"
        assert silence_follows(systemd)


def silence_follows(systemd: socket.socket) -> bool:
    """Whether nothing comes for five times the time of the watchdog, after the signs that are on their way."""
    systemd.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while systemd.recv(100):
            pass
    systemd.settimeout(1)
    try:
        return not systemd.recv(100)
    except TimeoutError:
        return True
    finally:
        systemd.settimeout(20)


def stopped(process: int) -> bool:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_systemd_accepts_the_unit(tmp_path):
    if (verify := shutil.which("systemd-analyze")) is None:
        pytest.skip("systemd-analyze is not here: .ci/run installs it")
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/headwater/bin/headwater", "/bin/true"))
    done = subprocess.run([verify, "verify", str(unit)], capture_output=True, text=True, check=False)
    mentions = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert (done.returncode, mentions) == (0, [])
