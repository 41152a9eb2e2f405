"""The unit of examples/deploy: the server tells systemd when it takes calls, and systemd accepts every line of the unit."""

from __future__ import annotations

import shutil
import socket
import subprocess
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
        with ServerProcess("--scripted", variables=variables, processes=processes) as server:
            assert systemd.recv(100) == b"READY=1"
            assert (await Agent(model="scripted/echo", target=server.target).arun("x")).content == "x"
        systemd.setblocking(False)
        with pytest.raises(BlockingIOError):
            systemd.recv(100)  # once, whatever the number of processes


async def test_a_socket_of_systemd_that_is_gone_is_a_warning(tmp_path):
    variables = {"NOTIFY_SOCKET": str(tmp_path / "gone")}
    with ServerProcess("--scripted", variables=variables) as server:
        assert (await Agent(model="scripted/echo", target=server.target).arun("x")).content == "x"
        server.stop()
        told = [event["level"] for event in server.events if event["event"] == "systemd not notified"]
    assert told == ["warning"]


def test_systemd_accepts_the_unit(tmp_path):
    if (verify := shutil.which("systemd-analyze")) is None:
        pytest.skip("systemd-analyze is not here: .ci/run installs it")
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/headwater/bin/headwater", "/bin/true"))
    done = subprocess.run([verify, "verify", str(unit)], capture_output=True, text=True, check=False)
    mentions = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert (done.returncode, mentions) == (0, [])
