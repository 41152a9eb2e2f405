"""Every row of the page on limits, driven against a real server: accepted at the limit, the stated end past it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.limits.place import Limit, Place
from tests.support.limits.replies import REPLIES
from tests.support.limits.workflows import WORKERS, WORKFLOWS
from tests.support.servers.server import ServerProcess

PAGE = (Path(__file__).parents[3] / "docs" / "limits.md").read_text("utf-8")
LIMITS = [*REPLIES, *WORKFLOWS, *WORKERS]

pytestmark = pytest.mark.timeout(120, func_only=True)


def rows() -> list[tuple[str, ...]]:
    """The limit, its size and the end beyond it of each row of the page."""
    tables = [line for line in PAGE.splitlines() if line.startswith("| ")]
    cells = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in tables]
    return [row[:3] for row in cells if row[0] != "limit" and not row[0].startswith("---")]


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    nowhere = {"OPENAI_API_KEY": "sk-planted", "OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}
    variables = {"HEADWATER_ALLOW_CALLER_API_KEYS": "true", **nowhere}
    with ServerProcess("--scripted", variables=variables) as server:
        yield server


def test_each_row_has_a_test_and_each_limit_a_row() -> None:
    assert rows() == [(limit.row, limit.most, f"`{limit.beyond}`") for limit in LIMITS]


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: limit.row)
async def test_a_call_at_the_limit_is_accepted_and_one_past_it_ends_as_the_page_says(
    limit: Limit, server: ServerProcess
) -> None:
    async with Place(server.target) as place:
        assert await limit.at(place) == limit.fine
        assert await limit.over(place) == limit.beyond
