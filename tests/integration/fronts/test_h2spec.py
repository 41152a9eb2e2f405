"""h2spec, which breaks each rule of HTTP/2 in turn, against the front `lean`: all of it, without an exception."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.support.servers.server import ServerProcess

H2SPEC = Path(__file__).parents[3] / ".tools" / "bin" / "h2spec"
LEAN = {"HEADWATER_FRONT": "lean"}


@pytest.mark.skipif(not H2SPEC.exists(), reason="make tools builds h2spec (needs Go)")
def test_h2spec_finds_no_fault() -> None:
    variables = {**LEAN, "HEADWATER_MAX_CONCURRENT_STREAMS": "100"}
    with ServerProcess("--scripted", variables=variables) as server:
        host, _, port = server.target.rpartition(":")
        ran = subprocess.run(
            [H2SPEC, "--host", host, "--port", port, "--timeout", "10"],
            capture_output=True,
            text=True,
            timeout=55,
            check=False,
        )
    assert re.search(r"145 tests, 145 passed, 0 skipped, 0 failed", ran.stdout), ran.stdout[-3_000:]
