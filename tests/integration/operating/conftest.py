"""A server with an alias whose first model fails, prices and an admin address."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers.metrics import ADMIN
from tests.support.servers.server import OwnThread, ServerProcess, provider_variables
from tests.support.upstream.upstream import Upstream, always

SETTINGS = """
[models.smart]
targets = ["openai/gpt-4o-mini", "scripted/echo"]

[prices."scripted/echo"]
input = 1
output = 2
"""
BUSY = always("503 Service Unavailable", b'{"error": {"message": "overloaded"}}', content_type="application/json")


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    started = Upstream(BUSY)
    with OwnThread(started):
        yield started


@pytest.fixture
def busy(upstream: Upstream, tmp_path: Path, processes: int) -> Iterator[ServerProcess]:
    config = tmp_path / "headwater.toml"
    config.write_text(SETTINGS)
    variables = {**provider_variables(upstream.url), **ADMIN, "HEADWATER_COOL_DOWN_SECONDS": "0"}
    with ServerProcess("--scripted", "--config", str(config), variables=variables, processes=processes) as server:
        yield server
