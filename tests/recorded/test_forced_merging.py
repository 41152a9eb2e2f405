"""The suite of all recorded answers again, with nothing merged and with all merged that can be."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.recorded import test_end_to_end as suite
from tests.recorded.test_end_to_end import CHAT, ERRORS, play_fixture
from tests.support.servers.server import ReplayThread, ServerProcess, provider_variables


@pytest.fixture(scope="module", params=["off", "on"])
def merging(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def server(replay: ReplayThread, merging: str) -> Iterator[ServerProcess]:
    program = ("-m", "tests.support.servers.merging_server", merging)
    with ServerProcess(variables=provider_variables(replay.url), program=program) as server:
        yield server


@pytest.mark.parametrize("name", sorted(set(CHAT) - set(ERRORS)))
async def test_a_reply_arrives_as_expected(server, name):
    await suite.test_a_reply_arrives_as_expected(server, name)


@pytest.mark.parametrize("name", sorted(ERRORS))
async def test_a_failure_arrives_as_its_exception_with_what_had_come(server, name):
    await suite.test_a_failure_arrives_as_its_exception_with_what_had_come(server, name)


async def test_merging_is_forced(server, merging):
    played = await play_fixture(server, CHAT["openai-usage"])
    tokens = [chunk.token for chunk in played.chunks if chunk.content]
    assert all(token is not None for token in tokens) if merging == "off" else tokens == [None]
