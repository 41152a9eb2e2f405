"""Lines that native code writes to standard error become events of the log, and a crash is reported as it is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

PROGRAM = """
import os, subprocess, sys, ctypes, faulthandler
from headwater_server.telemetry.logging import configure_logging
from headwater_server.telemetry.native_lines import native_lines_as_events
import structlog
configure_logging("info", "json", 3)
with native_lines_as_events("{form}"):
    {body}
os.write(2, b"after\\n")
"""


def run(body: str, form: str = "json") -> subprocess.CompletedProcess[str]:
    program = PROGRAM.format(body=body, form=form)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)


def events(body: str) -> list[dict[str, Any]]:
    done = run(body)
    assert done.returncode == 0
    lines = done.stderr.splitlines()
    lines.remove("after")  # the old descriptor is back; the log has a thread, so its lines may come later
    return [{key: value for key, value in json.loads(line).items() if key != "timestamp"} for line in lines]


@pytest.mark.parametrize(("letter", "level"), [("I", "info"), ("W", "warning"), ("E", "error"), ("F", "error")])
def test_a_line_of_grpc_is_an_event_with_its_level_and_place(letter, level):
    line = f"{letter}1128 22:09:38.996724   31040 chttp2_transport.cc:1403] ipv4:127.0.0.1:1: Got goaway [2]"
    assert events(f"os.write(2, b'{line}\\n')") == [
        {
            "process": 3, "event": "grpc", "level": level,
            "at": "chttp2_transport.cc:1403", "what": "ipv4:127.0.0.1:1: Got goaway [2]",
        }
    ]  # fmt: skip


OF_CALLERS = {
    **{
        header: f"Error parsing \\'{header}\\' metadata: value"
        for header in ("te", "grpc-timeout", ":method", ":status")
    },
    "server name": "No match found for server name: any",
}


@pytest.mark.parametrize("what", OF_CALLERS.values(), ids=list(OF_CALLERS))
def test_an_error_that_any_caller_can_cause_is_no_error_of_the_server(what):
    line = f"E1128 22:09:38.996724 31040 hpack_parser.cc:1048] {what}"
    (event,) = events(f"os.write(2, b'{line}\\n')")
    assert event["level"] == "info"


def test_any_other_line_is_an_event_too_however_it_is_made():
    body = "os.write(2, b'\\n\\xff\"{' + b'x' * 5_000 + b'\\nwithout an end')"
    first, second = events(body)
    assert (first["event"], first["level"], len(first["what"])) == ("output", "warning", 1_000)
    assert first["what"].startswith('\N{REPLACEMENT CHARACTER}"{xxx')
    assert second["what"] == "without an end"


def test_a_program_that_is_started_writes_events_too():
    (line,) = events("subprocess.run(['sh', '-c', 'echo from outside >&2'])")
    assert line["what"] == "from outside"


def test_events_of_the_log_are_not_read_again():
    (line,) = events("structlog.get_logger().info('own'); print('{}', file=sys.stderr)")[:1]
    assert (line["event"], line["process"]) == ("own", 3)


def test_a_burst_of_lines_is_whole():
    lines = events("os.write(2, b'a line\\n' * 2_000)")
    assert len(lines) == 2_000


def test_a_log_for_people_has_the_lines_as_they_are():
    assert sorted(run("os.write(2, b'a line\\n')", form="text").stderr.splitlines()) == ["a line", "after"]


def test_a_library_never_waits_for_a_log_that_nobody_reads():
    flood = "os.write(2, b'a line' * 10_000 + b'\\n') and [os.write(2, b'more\\n') for _ in range(100_000)]"
    program = PROGRAM.format(body=f"with contextlib.suppress(BlockingIOError): {flood}", form="text")
    program = f"import contextlib\n{program}".replace('os.write(2, b"after\\n")', "print('ended')")
    source, sink = os.pipe()
    try:
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=sink, timeout=60, check=False)
    finally:
        os.close(source)
        os.close(sink)
    assert (done.returncode, done.stdout) == (0, b"ended\n")


@pytest.mark.parametrize(
    ("body", "number"),
    [
        ("ctypes.string_at(0)", signal.SIGSEGV),
        ("os.abort()", signal.SIGABRT),
        ("os.kill(os.getpid(), 8)", signal.SIGFPE),
    ],
)
def test_the_report_of_a_crash_comes_through(body, number):
    done = run(body)
    assert done.returncode == -number
    assert done.stderr.startswith("Fatal Python error: ")
    assert "Current thread" in done.stderr


def test_an_exception_that_ends_the_program_is_reported():
    done = run("raise ValueError('why')")
    assert done.returncode == 1
    assert "ValueError: why" in done.stderr
