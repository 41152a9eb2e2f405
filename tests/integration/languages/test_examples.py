"""The examples run as they stand, against the real server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.servers.server import ServerProcess, clean_environment

EXAMPLES = Path(__file__).parents[3] / "examples"

# The output that shows that the parts of each work.
SIGNS = {
    "streaming/basic_streaming.py": [
        "scripted/story streams: True",
        "Stopped after 1",
        "The server says:",
        "remembers 8 messages",
    ],
    "streaming/multi_provider_stream.py": ["scripted: Why is the sky blue?", "== scripted", "first token"],
    "streaming/practical_streaming.py": ["4 messages remembered", "10 replies", "time is up after", "--- with_a_retry"],
    "streaming/streaming_with_handlers.py": [
        "Calculating {'expression': '15 * 2500 / 100'}...\nResult: 375",
        "Asking for 2 cities...",
        "Workflow trip: completed",
        "The context has calc_params, calc_result, calculate_result, cities, summarise_result, weather_result",
    ],
    "streaming/advanced_streaming_handlers.py": [
        "words, status completed",
        "attempt 2: ConnectionError: the line is busy; again in 0.",
        " s\nattempt 3: got through",
        "step publish failed\nprepared once, then published",
        "events, completed",
        "class s0 completed",
        "the run is cancelled",
    ],
    "agents/workflow_with_handlers.py": [
        "flowchart TD",
        "Calculating...",
        "warn      skipped",
        "3 numbers. Mean: 850.83. Nothing",
    ],
    "agents/workflow_with_wrappers.py": [
        "Executing calculator...",
        "Executing converter...",
        "[thank: ",
        "375 dollars are 345.0 euros",
    ],
}


@pytest.fixture(scope="module")
def scripted():
    """A server with nothing but `scripted`."""
    with ServerProcess("--scripted", "--default-model", "scripted/story", variables={"HEADWATER_LOCAL": "0"}) as server:
        yield server


def test_every_example_is_run_here():
    found = [*EXAMPLES.glob("streaming/*.py"), *EXAMPLES.glob("agents/*.py")]
    assert {str(path.relative_to(EXAMPLES)) for path in found} == set(SIGNS)


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
