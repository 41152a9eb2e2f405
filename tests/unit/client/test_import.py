"""Importing the client leaves the host program as it is: only the first call may change something."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import headwater

# The state that a program would notice: the snapshots before and after must be equal.
SCRIPT = """
import importlib, json, logging, os, signal, sys, threading, warnings

def snapshot():
    loggers = [logging.root, *(x for x in logging.root.manager.loggerDict.values() if isinstance(x, logging.Logger))]
    return {{
        "environment": dict(os.environ),
        "filters": {{logger.name: len(logger.filters) for logger in loggers if logger.filters}},
        "handlers": {{logger.name: len(logger.handlers) for logger in loggers if logger.handlers}},
        "levels": {{logger.name: logger.level for logger in loggers if logger.level}},
        "threads": threading.active_count(),
        "signals": [str(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)],
        "warnings": len(warnings.filters),
        "grpc": sorted(name for name in sys.modules if name.split(".")[0] in ("grpc", "grpc_status")),
    }}

logging.getLogger("asyncio")
before = snapshot()
{action}
print(json.dumps([before, snapshot()]))
"""

ALL_NAMES = "import headwater; [getattr(headwater, name) for name in headwater.__all__]"


def run(action: str) -> tuple[dict[str, object], dict[str, object]]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(action=action)],
        env={"PYTHONPATH": str(Path(headwater.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    before, after = json.loads(done.stdout)
    return before, after


@pytest.mark.parametrize(
    "action",
    [
        "import headwater",
        ALL_NAMES,
        "from headwater import Agent, Connection; Agent('a', connection=Connection('localhost:1'))",
        "from headwater import WorkflowAgent; WorkflowAgent('a').create_workflow('w').add_step('s', 'Do it')",
        "from headwater import Agent; Agent(target='localhost:1').stream('Hi')",
    ],
)
def test_nothing_changes_before_the_first_call(action: str) -> None:
    before, after = run(action)
    assert after == before


def test_the_first_call_imports_grpc() -> None:
    """Else the test above could not fail."""
    action = "import headwater\ntry: headwater.Agent(target='localhost:1').run('Hi')\nexcept ConnectionError: pass"
    before, after = run(action)
    assert before["grpc"] == []
    assert "grpc" in str(after["grpc"])
    assert after["environment"] != before["environment"]


def test_the_command_begins_without_another_import() -> None:
    """Until its first statement, Ctrl-C gives a traceback that nothing can prevent."""
    code = "import sys; before = set(sys.modules); import headwater.cli; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= {"__future__", "headwater", "headwater.cli"}


def test_a_command_of_the_client_does_not_look_for_those_of_the_server():
    """It needs neither `importlib.metadata` nor a look at all that is installed."""
    code = (
        "import sys; sys.argv = ['headwater', 'models', '--help']; from headwater.cli import main\n"
        "try: main()\n"
        "finally: print('importlib.metadata' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
