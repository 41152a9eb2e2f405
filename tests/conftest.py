"""The fixtures of all tests: the real server and the replay server, one of each for a test process."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.servers.server import OWN_VARIABLES, ReplayThread, ServerProcess, provider_variables

BOTH_WAYS = {
    "chaos/test_broken_connections.py",
    "chaos/test_every_method.py",
    "recorded/test_end_to_end.py",
    "integration/workflows/test_go_worker.py",
    "integration/operating/test_admin.py",
    "integration/operating/test_costs.py",
    "integration/operating/test_top.py",
    "integration/server/test_leaving.py",
    "integration/server/test_many_streams.py",
    "integration/server/test_resume.py",
    "integration/providers/test_tools.py",
    "integration/workflows/test_workflow_agent.py",
    "integration/workflows/test_service.py",
    "integration/tls/test_server_tls.py",
    "integration/tls/test_client_tls.py",
}
"""The suites on streaming and on workflows: tests that use `processes` there runs with one server process and with two."""

# Property tests have no time limits, which a busy machine would break, and leave no files behind.
settings.register_profile("headwater", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("headwater")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A service of two processes is to behave as one process does."""
    file = Path(metafunc.module.__file__).relative_to(Path(__file__).parent).as_posix()
    if file in BOTH_WAYS and "processes" in metafunc.fixturenames:
        metafunc.parametrize("processes", [1, 2], ids=["one-process", "two-processes"], indirect=True, scope="session")


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Collects without looking for garbage, of which there is next to none: a tenth of the time of each process."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Hides the thousands of collected tests and imported modules from each later `gc.collect`."""
    gc.collect()
    gc.freeze()


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
def processes(request: pytest.FixtureRequest) -> int:
    """How many processes the server has: one, and in the suites of BOTH_WAYS two as well."""
    return int(getattr(request, "param", 1))


@pytest.fixture(scope="session")
def server(replay: ReplayThread, processes: int) -> Iterator[ServerProcess]:
    """The real server; its providers are the replay server and `scripted`."""
    with ServerProcess("--scripted", variables=provider_variables(replay.url), processes=processes) as server:
        yield server
