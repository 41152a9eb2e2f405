"""The plugin in the test runs of others: nothing changes where it is not used, and it works in each kind of run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.servers.server import clean_environment

SYNC = """
from headwater import Agent

def test_sync(headwater):
    headwater.reply("Hello")
    assert Agent().run("Hi").content == "Hello"
"""
ASYNC = """
import pytest
from headwater import Agent

@pytest.mark.asyncio
async def test_async(headwater):
    headwater.reply(["Hel", "lo"])
    assert [chunk.content async for chunk in Agent().stream("Hi")] == ["Hel", "lo", ""]
"""
PLAIN = """
import sys

def test_nothing_is_imported():
    found = {name.partition(".")[0] for name in sys.modules}
    assert found.isdisjoint({"grpc", "google", "headwater_server"})
    assert {name for name in sys.modules if name.startswith("headwater")} == LOADED
"""
NOT_LOADED = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest")  # the second takes longer than the rest of a run
LOADED = {"headwater", "headwater.testing", "headwater.testing.plugin"}


def run_pytest(folder: Path, text: str, *flags: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A run of pytest in which every warning is an error."""
    (folder / "test_it.py").write_text(text)
    (folder / "pytest.ini").write_text(
        "[pytest]\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"
    )
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *NOT_LOADED, *flags],
        capture_output=True, text=True, cwd=folder, env=clean_environment(**variables), timeout=60, check=False,
    )  # fmt: skip


def test_a_run_that_does_not_use_it_imports_next_to_nothing(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, PLAIN.replace("LOADED", repr(LOADED)))
    assert done.returncode == 0, done.stdout


def test_it_works_with_several_processes_and_strict_asyncio(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, SYNC + ASYNC, "--asyncio-mode=strict", "--numprocesses=2")
    assert (done.returncode, "2 passed" in done.stdout) == (0, True), done.stdout + done.stderr
    assert done.stderr == ""


def test_without_the_packages_of_the_server_it_says_what_to_install(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "structlog.py").write_text("raise ModuleNotFoundError('hidden', name='structlog')")
    done = run_pytest(tmp_path, SYNC, PYTHONPATH=str(hidden))
    assert done.returncode == 1
    assert "structlog is missing): install headwater with its extra `server`" in done.stdout


def test_a_run_that_is_killed_leaves_no_server(tmp_path: Path) -> None:
    text = "import os\ndef test_it(headwater):\n    print(headwater.target, flush=True)\n    os.kill(os.getpid(), 9)\n"
    done = run_pytest(tmp_path, text, "--capture=no")
    target = done.stdout.split()[-1]
    host, port = target.split(":")
    gone = (
        "import socket, sys\n"
        "while True:\n"
        "    with socket.socket() as probe:\n"
        f"        if probe.connect_ex(({host!r}, {port})): break\n"
    )
    assert subprocess.run([sys.executable, "-c", gone], timeout=30, env=os.environ, check=False).returncode == 0
