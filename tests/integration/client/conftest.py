"""A fake service for each test, and nothing left behind."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator

import pytest
from tests.support.fake_agent_service import FakeAgentService

from headwater import Agent


@pytest.fixture
def service() -> Iterator[FakeAgentService]:
    with FakeAgentService() as service:
        yield service


@pytest.fixture
def agent(service: FakeAgentService) -> Agent:
    return Agent(target=service.target)


@pytest.fixture(autouse=True)
def _asyncio_has_nothing_to_report(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Tasks that were destroyed and exceptions that nobody took are only logged; here they fail the test."""
    yield
    gc.collect()
    reports = [
        record.getMessage()
        for record in [*caplog.get_records("setup"), *caplog.get_records("call"), *caplog.get_records("teardown")]
        if record.name == "asyncio" and record.levelno >= logging.WARNING
    ]
    assert not reports
