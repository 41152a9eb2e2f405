"""The examples run as they stand, against the real server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.server import ServerProcess, clean_environment

EXAMPLES = Path(__file__).parents[2] / "examples" / "streaming"

# What each must have printed for its parts to have done what they say.
SIGNS = {
    "basic_streaming.py": [
        "scripted/story streams: True",
        "Stopped after 1",
        "The server says:",
        "remembers 8 messages",
    ],
    "multi_provider_stream.py": ["scripted: Why is the sky blue?", "== scripted", "first token"],
    "practical_streaming.py": ["4 messages remembered", "10 replies", "time is up after", "--- with_a_retry"],
}


@pytest.fixture(scope="module")
def scripted():
    """A server with nothing but `scripted`."""
    with ServerProcess("--scripted", "--default-model", "scripted/story", variables={"HEADWATER_LOCAL": "0"}) as server:
        yield server


def test_every_example_is_run_here():
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SIGNS)


@pytest.mark.parametrize("name", sorted(SIGNS))
def test_an_example_runs_as_it_stands(scripted, name):
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / name)],
        capture_output=True,
        text=True,
        env=clean_environment(HEADWATER_TARGET=scripted.target),
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for sign in SIGNS[name]:
        assert sign in done.stdout, done.stdout
