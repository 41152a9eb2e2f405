"""What all tests share: the real server and the replay server, one of each for a test process."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator

import pytest

from tests.support.server import OWN_VARIABLES, ReplayThread, ServerProcess, provider_variables


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where all tools are to be there, as in .ci/run, a test that is left out has failed."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CI"):
        report.outcome = "failed"
    return report


@pytest.fixture(autouse=True)
def _no_configuration_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(OWN_VARIABLES):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def replay() -> Iterator[ReplayThread]:
    """Canned answers of all three providers."""
    with ReplayThread() as replay:
        yield replay


@pytest.fixture(scope="session")
def server(replay: ReplayThread) -> Iterator[ServerProcess]:
    """The real server; its providers are the replay server and `scripted`."""
    with ServerProcess("--scripted", variables=provider_variables(replay.url)) as server:
        yield server
