"""A server writes one event a line to standard error, also when a library or Python itself reports a fault."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

SETUP = """
import asyncio, gc, logging, warnings
from headwater_server.telemetry.logging import configure_logging
configure_logging("info", "json")
"""

REPORTS = {
    "a library's message": (
        'logging.getLogger("grpc").warning("Unexpected [%s] raised", "my secret")',
        {"level": "warning", "logger": "grpc", "what": "Unexpected"},
    ),
    "a library's message at a level of its own": (
        'logging.getLogger("lib").log(55, "worse than critical: my secret")',
        {"level": "error", "logger": "lib", "what": "worse than critical"},
    ),
    "a library's exception": (
        """
def speak(): raise ValueError("my secret")
try: speak()
except ValueError: logging.getLogger("lib").exception("it broke: my secret")
""",
        {"level": "error", "logger": "lib", "what": "it broke", "error": "ValueError"},
    ),
    "a task whose failure nobody asks for": (
        """
async def fail(): raise ValueError("my secret")
async def main():
    task = asyncio.create_task(fail())
    await asyncio.wait([task])
    del task
    gc.collect()
asyncio.run(main())
""",
        {"level": "error", "logger": "asyncio", "what": "Task exception was never retrieved", "error": "ValueError"},
    ),
    "a callback that fails": (
        """
def fail(text): raise ValueError(text)
async def main():
    asyncio.get_running_loop().call_soon(fail, "my secret")
    await asyncio.sleep(0)
asyncio.run(main())
""",
        {"level": "error", "logger": "asyncio", "what": "Exception in callback fail", "error": "ValueError"},
    ),
    "an exception that cannot be raised": (
        """
class Bad:
    def __del__(self): raise ValueError("my secret")
Bad()
""",
        {"level": "error", "logger": "python", "error": "ValueError"},
    ),
    "a thread that fails": (
        """
import threading
def fail(): raise ValueError("my secret")
thread = threading.Thread(target=fail)
thread.start()
thread.join()
""",
        {"level": "error", "logger": "threading", "error": "ValueError"},
    ),
    "a warning": (
        'warnings.warn("never awaited: my secret", RuntimeWarning)',
        {"level": "warning", "logger": "warnings", "what": "never awaited", "error": "RuntimeWarning"},
    ),
}


@pytest.mark.parametrize("name", REPORTS)
def test_what_others_report_is_a_fault_without_what_it_quotes(name):
    program, expected = REPORTS[name]
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", SETUP + program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    (line,) = done.stderr.splitlines()
    event = json.loads(line)
    assert "secret" not in line
    assert event["event"] == "fault"
    assert {key: event.get(key) for key in expected} == expected


@pytest.mark.parametrize(
    ("variables", "is_terminal", "coloured"),
    [
        ({"TERM": "xterm"}, True, True),
        ({"TERM": "xterm", "NO_COLOR": ""}, True, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, True, False),
        ({"TERM": "dumb"}, True, False),
        ({}, True, False),
        ({"TERM": "xterm"}, False, False),
    ],
)
def test_only_a_terminal_that_wants_colours_gets_them(variables, is_terminal, coloured):
    code = f"import sys; sys.stderr.isatty = lambda: {is_terminal}\n{SETUP.replace('json', 'text')}{HELLO}"
    environment = {key: value for key, value in os.environ.items() if key not in ("TERM", "NO_COLOR")} | variables
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert "listening" in done.stderr
    assert ("\x1b[" in done.stderr) is coloured


HELLO = "import structlog; structlog.get_logger().info('listening', port=1)"
