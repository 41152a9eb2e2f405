"""A fake service for each test, and nothing left behind."""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from headwater import Agent
from tests.support.services.fake_agent_service import FakeAgentService


@pytest.fixture
def service() -> Iterator[FakeAgentService]:
    with FakeAgentService() as service:
        yield service


@pytest.fixture
def agent(service: FakeAgentService) -> Agent:
    return Agent(target=service.target)


@pytest.fixture
async def _no_tasks_left() -> AsyncIterator[None]:
    yield
    gc.collect()
    deadline = time.monotonic() + 2
    while left := asyncio.all_tasks() - {asyncio.current_task()}:
        assert time.monotonic() < deadline, left
        await asyncio.sleep(0.005)


@pytest.fixture(autouse=True)
def _tests_that_have_a_loop_leave_no_tasks(request: pytest.FixtureRequest) -> None:
    if inspect.iscoroutinefunction(request.function):
        request.getfixturevalue("_no_tasks_left")


@pytest.fixture(autouse=True)
def _asyncio_has_nothing_to_report(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fails the test for destroyed tasks and for exceptions that were never read; elsewhere they are only logged."""
    yield
    gc.collect()
    reports = [
        record.getMessage()
        for record in [*caplog.get_records("setup"), *caplog.get_records("call"), *caplog.get_records("teardown")]
        if record.name == "asyncio" and record.levelno >= logging.WARNING
    ]
    assert not reports
