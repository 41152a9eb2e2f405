"""A selection of the suites with the front `lean`; `make test-lean` runs all that start a server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]
SUITES = (
    "integration/server/test_leaving.py",
    "integration/callers/test_every_method.py",
    "integration/workflows/test_service.py",
    "integration/processes/test_routing.py",
)


@pytest.mark.timeout(300)
@pytest.mark.skipif(os.environ.get("TEST_FRONT") == "lean", reason="all of them run with it")
@pytest.mark.parametrize("suite", SUITES)
def test_a_suite_with_the_other_front(suite: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", TESTS / suite]
    ended = subprocess.run(
        command, env={**os.environ, "TEST_FRONT": "lean"}, cwd=TESTS.parent, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout[-5_000:]
