"""The suite of all recorded answers again, through a proxy: another client reads them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.recorded import test_end_to_end as suite
from tests.recorded.test_end_to_end import CHAT, ERRORS
from tests.support.servers.server import ReplayThread, ServerProcess, proxied_variables


@pytest.fixture(scope="module")
def server(replay: ReplayThread) -> Iterator[ServerProcess]:
    with ServerProcess(variables=proxied_variables(replay.url)) as server:
        yield server


@pytest.mark.parametrize("name", sorted(set(CHAT) - set(ERRORS)))
async def test_a_reply_arrives_as_expected(server, name):
    await suite.test_a_reply_arrives_as_expected(server, name)


@pytest.mark.parametrize("name", sorted(ERRORS))
async def test_a_failure_arrives_as_its_exception_with_what_had_come(server, name):
    await suite.test_a_failure_arrives_as_its_exception_with_what_had_come(server, name)
