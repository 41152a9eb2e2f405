"""Programs of a few lines in a fresh interpreter that shows every warning."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import headwater
from tests.support.services.fake_agent_service import FakeAgentService

# The first call loads gRPC. On a busy machine that takes longer than a tenth of a second, which asyncio's debug mode logs.
QUIET_WHEN_SLOW = """
import logging
logging.getLogger("asyncio").addFilter(lambda record: not record.getMessage().startswith("Executing "))
"""


def run_script(service: FakeAgentService, script: str) -> subprocess.CompletedProcess[str]:
    """The output of a fresh interpreter that shows every warning."""
    with start_script(service, script) as child:
        try:
            output, errors = child.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            child.kill()
            raise
    return subprocess.CompletedProcess(child.args, child.returncode, output, errors)


def start_script(service: FakeAgentService, script: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-X", "dev", "-c", QUIET_WHEN_SLOW + textwrap.dedent(script)],
        env={"HEADWATER_TARGET": service.target, "PYTHONPATH": str(Path(headwater.__file__).parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def assert_clean(done: subprocess.CompletedProcess[str], output: str) -> None:
    assert (done.returncode, done.stdout, done.stderr) == (0, output, "")
