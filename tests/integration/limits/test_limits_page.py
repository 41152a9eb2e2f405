"""Every row of the page on limits, driven against a real server: accepted at the limit, the stated end past it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.limits.place import Limit, Place
from tests.support.limits.replies import REPLIES
from tests.support.limits.workflows import WORKERS, WORKFLOWS
from tests.support.servers.server import ServerProcess

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "limits.md").read_text("utf-8")
OPERATIONS = (ROOT / "docs" / "operations.md").read_text("utf-8")
LIMITS = [*REPLIES, *WORKFLOWS, *WORKERS]

OF_LOAD = {
    "calls at once on a connection": "integration/server/test_limits.py::test_the_calls_at_once_on_a_connection_can_be_limited",
    "connections": "attack/test_connections.py::test_connections_and_their_idle_time_are_limited",
    "calls that wait for their beginning": "attack/test_connections.py::test_one_connection_that_floods_streams_takes_little_memory",
    "time of a connection without a call": "attack/test_connections.py::test_connections_and_their_idle_time_are_limited",
    "age of a connection": "integration/server/test_limits.py::test_a_connection_of_the_set_age_is_closed_and_a_younger_one_is_not",
    "silence of a connection with a ping unanswered": "chaos/test_upstream_closed.py::test_the_upstream_of_a_caller_that_vanished_is_closed_soon",
    "streams at once, those of Run and of workflows among them": "integration/limits/test_overload.py::test_streams_past_their_limit_are_refused_until_one_has_ended",
    "runs that have not ended": "integration/limits/test_overload.py::test_runs_past_their_limit_are_refused_however_many_come_at_once",
    "workers that are attached": "integration/limits/test_overload.py::test_workers_past_their_limit_are_refused_and_one_that_comes_back_is_not",
    "requests and tokens of a caller": "integration/callers/test_limits.py::test_requests_of_a_minute_count_over_all_processes_and_for_one_caller",
    "the requests of all running calls": "attack/test_requests.py::test_the_requests_of_running_calls_have_a_budget",
    "a request that takes more than a second to arrive": "attack/test_requests.py::test_requests_that_never_end_take_no_more_than_the_budget",
    "the same, in all": "unit/transport/incoming/test_arrivals.py::test_a_request_may_not_be_slow_for_ever",
    "the wait of a call while the process does not answer": "attack/test_connections.py::test_a_call_that_waited_too_long_for_its_turn_is_told_to_try_again",
    "silence of a worker that is attached": "unit/transport/services/test_worker.py::test_a_worker_that_says_nothing_is_disconnected_and_one_that_sends_heartbeats_is_not",
    "a request": "unit/transport/incoming/test_reader.py::test_each_method_takes_so_many_bytes_and_no_more",
    "fields and items of a request": "unit/transport/incoming/test_reader.py::test_more_elements_than_allowed_are_refused_before_they_are_parsed",
    "metadata of a call": "integration/limits/test_limits_page.py::test_a_call_at_the_limit_is_accepted_and_one_past_it_ends_as_the_page_says",
}
"""The tests of the limits of load, by the rows of their table: each needs a server or an attack for itself."""

pytestmark = pytest.mark.timeout(120, func_only=True)


def rows() -> list[tuple[str, ...]]:
    """The limit, its size and the end beyond it of each row of the page."""
    tables = [line for line in PAGE.splitlines() if line.startswith("| ")]
    cells = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in tables]
    return [row[:3] for row in cells if row[0] != "limit" and not row[0].startswith("---")]


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    nowhere = {"OPENAI_API_KEY": "sk-planted", "OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}
    variables = {"HEADWATER_ALLOW_CALLER_API_KEYS": "true", "HEADWATER_DRAIN_SECONDS": "0.2", **nowhere}
    with ServerProcess("--scripted", variables=variables) as server:
        yield server


def test_each_row_has_a_test_and_each_limit_a_row() -> None:
    assert rows() == [(limit.row, limit.most, f"`{limit.beyond}`") for limit in LIMITS]


def test_each_limit_of_load_has_a_test_that_exists() -> None:
    section = OPERATIONS.partition("\n## Limits\n")[2].partition("\n## ")[0]
    table = [line.split("|")[1].strip() for line in section.splitlines() if line.startswith("| ")]
    assert table[2:] == list(OF_LOAD)
    for test in OF_LOAD.values():
        file, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / "tests" / file).read_text("utf-8"), test


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: limit.row)
async def test_a_call_at_the_limit_is_accepted_and_one_past_it_ends_as_the_page_says(
    limit: Limit, server: ServerProcess
) -> None:
    async with Place(server.target) as place:
        assert await limit.at(place) == limit.fine
        assert await limit.over(place) == limit.beyond
