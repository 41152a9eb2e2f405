"""The supervisor of several server processes, with tiny processes in their place (tests/support/servers/supervised.py)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest

MODULE = "tests.support.servers.supervised"


class Supervised:
    """A supervisor that runs, what it logs, and its end."""

    def __init__(self, process: subprocess.Popen[str], count: int) -> None:
        self.process = process
        self._count = count
        self.seen: list[dict[str, Any]] = []

    def next_event(self, event: str, **facts: object) -> dict[str, Any]:
        """Reads its log up to this event."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            found: dict[str, Any] = json.loads(line)
            self.seen.append(found)
            if {"event": event, **facts}.items() <= found.items():
                return found
        raise AssertionError(f"no {event} {facts} in {self.seen}")

    def all_ready(self) -> list[int]:
        """Waits until it says so; the processes by index."""
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"
        ready = [self.next_event("process ready") for _ in range(self._count)]
        return [event["pid"] for event in sorted(ready, key=lambda event: event["process"])]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


@contextmanager
def supervised(*parts: str, **options: object) -> Iterator[Supervised]:
    arguments = json.dumps({"parts": parts, **options})
    with subprocess.Popen(
        [sys.executable, "-m", MODULE, arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Supervised(process, len(parts))
        finally:
            process.kill()


def run_to_end(*parts: str, **options: object) -> tuple[int, str, list[int]]:
    """Its exit code, what it printed, and the processes that were ever ready."""
    with supervised(*parts, **options) as it:
        out, err = it.process.communicate(timeout=30)
    return it.process.returncode, out, [event["pid"] for event in map(json.loads, err.splitlines()) if "pid" in event]


def test_it_says_once_that_all_are_ready():
    with supervised("serve", "serve") as it:
        pids = it.all_ready()
        assert len(set(pids)) == 2
        assert it.stop() == 0
        assert it.process.stdout is not None
        assert it.process.stdout.read() == ""


def reloaded(it: Supervised) -> tuple[str, list[str]]:
    """The failures of a reload, and the settings that the two processes have after it."""
    it.process.send_signal(signal.SIGHUP)
    assert it.process.stdout is not None
    failures = it.process.stdout.readline().strip()
    it.stop()
    assert it.process.stderr is not None
    told = [json.loads(line) for line in it.process.stderr]
    last = {event["process"]: event["settings"] for event in told if event["event"] == "told"}
    return failures, [last[0], last[1]]


def test_all_processes_get_the_settings_of_a_reload():
    with supervised("told", "told", reload="second") as it:
        it.all_ready()
        assert reloaded(it) == ("[]", ["second", "second"])


def test_when_a_process_cannot_use_the_settings_of_a_reload_all_get_those_before_again():
    with supervised("told", "told", reload="bad for 1") as it:
        it.all_ready()
        assert reloaded(it) == ("['cannot']", ["first", "first"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_cleanly(number):
    with supervised("serve", "serve", "serve") as it:
        pids = it.all_ready()
        assert it.stop(number) == 0
        assert not any(map(psutil.pid_exists, pids))


def test_a_process_that_dies_is_started_again_and_the_others_go_on():
    with supervised("serve", "serve") as it:
        first, second = it.all_ready()
        os.kill(second, signal.SIGKILL)
        died = it.next_event("process died")
        assert (died["process"], died["pid"], died["signal"], died["restart_in_seconds"]) == (1, second, "SIGKILL", 0)
        third = it.next_event("process ready", process=1)["pid"]
        assert {child.pid for child in psutil.Process(it.process.pid).children()} == {first, third}
        assert it.stop() == 0


def test_one_that_keeps_dying_young_is_started_after_growing_delays():
    with supervised("brief", delays=[0, 0.01, 0.02]) as it:
        died = [it.next_event("process died", exit_code=5) for _ in range(5)]
        assert [event["restart_in_seconds"] for event in died] == [0, 0.01, 0.02, 0.02, 0.02]


def test_one_that_has_lived_a_while_is_started_at_once_each_time():
    with supervised("brief", delays=[0, 600], young_seconds=0) as it:
        died = [it.next_event("process died") for _ in range(3)]
        assert [event["restart_in_seconds"] for event in died] == [0, 0, 0]


def test_a_signal_ends_the_wait_before_a_start():
    with supervised("brief", delays=[600]) as it:
        it.next_event("process died")
        assert it.stop() == 0


def test_one_that_cannot_start_ends_all_with_its_words():
    code, out, pids = run_to_end("serve", "refuse", "serve")
    assert (code, out.startswith("refused")) == (2, True)
    assert not any(map(psutil.pid_exists, pids))


def test_one_that_crashes_before_it_was_ever_ready_ends_all():
    code, out, _ = run_to_end("crash", "silent")
    assert (code, out) == (2, "server process 0 ended before it was ready: exit code 3\n")


def test_a_program_that_is_not_there_cannot_start(tmp_path):
    code = (
        "import asyncio; from headwater_server.processes.supervisor import *\n"
        f"beats = Heartbeats(Path('{tmp_path}/heartbeats'), 1)\n"
        f"async def run(): await Supervisor(['{tmp_path}/none'], [b''], 1, beats, print).run()\n"
        "try: asyncio.run(run())\n"
        "except StartError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "a server process cannot be started: No such file or directory\n"


def test_a_first_line_longer_than_any_buffer_arrives_whole():
    code, out, _ = run_to_end("refuse", padding=3_000_000)
    assert (code, int(out.split()[2]) > 3_000_000) == (2, True), out


def test_one_that_is_never_ready_does_not_hold_up_the_end():
    with supervised("silent", "serve") as it:
        it.next_event("process ready", process=1)
        assert it.stop() == 0


def test_one_that_does_not_end_is_killed():
    with supervised("deaf", "serve", stop_seconds=0.2) as it:
        it.all_ready()
        assert it.stop() == 1
        assert it.next_event("process killed")["process"] == 0
        assert it.next_event("process died")["signal"] == "SIGKILL"


def test_one_that_was_never_ready_and_does_not_end_is_killed_too():
    with supervised("stuck", stop_seconds=0.2) as it:
        it.next_event("stuck")
        assert it.stop() == 1


def test_each_signal_is_passed_on():
    with supervised("patient", "serve") as it:
        patient, _ = it.all_ready()
        it.process.send_signal(signal.SIGTERM)
        for _ in range(2):
            it.next_event("heard")  # two signals that wait at once would be one
        assert psutil.pid_exists(patient)
        assert it.stop() == 0


def test_signals_that_keep_coming_do_not_kill_it():
    with supervised("patient", "serve") as it:
        it.all_ready()
        while it.process.poll() is None:
            it.process.send_signal(signal.SIGTERM)
            time.sleep(0.001)  # or it would do nothing but take signals
        assert it.process.returncode == 0


def test_one_that_dies_while_all_are_ending_is_not_started_again():
    with supervised("patient", "serve") as it:
        patient, other = it.all_ready()
        ending = psutil.Process(other)
        it.process.send_signal(signal.SIGTERM)
        psutil.wait_procs([ending], 30)
        os.kill(patient, signal.SIGKILL)
        assert it.process.wait(30) == 1
        assert it.next_event("process died")["signal"] == "SIGKILL"
        assert "process ready" not in it.process.stderr.read()  # type: ignore[union-attr]


def test_processes_end_when_the_supervisor_is_killed():
    with supervised("serve", "deaf") as it:
        processes = [psutil.Process(pid) for pid in it.all_ready()]
        it.process.kill()
        assert psutil.wait_procs(processes, 30)[1] == []


def test_ctrl_c_on_the_terminal_reaches_no_process_by_itself():
    with supervised("serve") as it:
        (pid,) = it.all_ready()
        assert os.getsid(pid) == pid
        assert it.stop() == 0


def test_many_starts_leave_no_descriptor_and_no_process_behind():
    with supervised("serve", "serve", delays=[0]) as it:
        pid = it.all_ready()[1]
        supervisor = psutil.Process(it.process.pid)
        before = supervisor.num_fds()
        for _ in range(30):
            os.kill(pid, signal.SIGKILL)
            pid = it.next_event("process ready", process=1)["pid"]
        assert supervisor.num_fds() == before
        assert len(supervisor.children()) == 2
        assert it.stop() == 0


def test_the_supervisor_is_light():
    code = "import headwater_server.processes.supervisor, sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"grpc", "google", "headwater", "pydantic", "aiohttp", "httpx", "click"} & set(done.stdout.split())


def test_a_process_that_hangs_before_it_is_ready_is_killed_and_named():
    with supervised("silent", look_seconds=0.002) as it:
        out, err = it.process.communicate(timeout=30)
    assert it.process.returncode == 2
    assert "server process 0 ended before it was ready: killed by SIGKILL" in out
    (line,) = [event for event in map(json.loads, err.splitlines()) if event["event"] == "process hangs"]
    assert not line["is_ready"]


def test_a_process_that_hangs_is_killed_and_started_again():
    with supervised("serve", "hang", look_seconds=0.01) as it:
        _, hung = it.all_ready()
        assert it.next_event("process hangs")["pid"] == hung
        assert it.next_event("process died")["signal"] == "SIGKILL"
        assert it.next_event("process ready", process=1)["pid"] != hung
        it.stop()
