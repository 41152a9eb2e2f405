"""The end of its terminal (SIGHUP) does not end a command that runs until it is stopped; `serve` is tested elsewhere."""

from __future__ import annotations

import signal
import subprocess
import sys

from tests.support.servers.server import clean_environment

AGENT = """
class Recorder:
    async def run_worker(self, queue, concurrency, stop, drain_seconds):
        print("serves", flush=True)
        await stop.wait()
        print("closed", flush=True)

agent = Recorder()
"""


def started(*args: str, **options) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "headwater.cli", *args], text=True, env=clean_environment(),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
    )  # fmt: skip


def test_a_worker_serves_on(tmp_path):
    (tmp_path / "crew.py").write_text(AGENT)
    with started("worker", "crew:agent", "--queue", "q", cwd=tmp_path) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "serves\n"
        worker.send_signal(signal.SIGHUP)
        worker.send_signal(signal.SIGTERM)
        out, _ = worker.communicate(timeout=30)
    assert (worker.returncode, out) == (0, "closed\n")


def test_a_chat_answers_on_and_ends_with_its_input(server):
    with started("chat", "--target", server.target, "-m", "scripted/echo") as chat:
        assert chat.stdin is not None
        assert chat.stdout is not None
        chat.stdin.write("one\n")
        chat.stdin.flush()
        assert chat.stdout.readline() == "one\n"
        chat.send_signal(signal.SIGHUP)
        out, _ = chat.communicate("two\n", timeout=30)
    assert (chat.returncode, out) == (0, "two\n")
