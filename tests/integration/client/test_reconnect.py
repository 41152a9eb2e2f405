"""A server that was away and is back: the next call reaches it. One that is away fails at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from headwater import Agent, Connection, ServerUnavailableError
from tests.support.services.fake_agent_service import FakeAgentService


@pytest.fixture
def away() -> FakeAgentService:
    """A service that has listened, and does not listen now."""
    with FakeAgentService() as service:
        return service


@pytest.fixture(params=["shared", "own"])
async def agent(request: pytest.FixtureRequest, away: FakeAgentService) -> AsyncIterator[Agent]:
    """An agent over the channel that all share, or over one of a Connection."""
    if request.param == "shared":
        yield Agent(target=away.target, history=0)
    else:
        async with Connection(away.target) as connection:
            yield Agent(connection=connection, history=0)


async def test_a_call_reaches_a_server_that_has_just_come_back(agent: Agent, away: FakeAgentService) -> None:
    for _ in range(3):
        with pytest.raises(ServerUnavailableError, match="refused"):
            await agent.arun("x")
        with away:
            assert (await agent.arun("x")).content == "Hello world"


async def test_a_call_that_is_no_stream_does_too(agent: Agent, away: FakeAgentService) -> None:
    with pytest.raises(ServerUnavailableError):
        await agent.aget_provider_info()
    with away:
        assert (await agent.aget_provider_info())["provider"] == "fake"


def test_the_failure_of_one_loop_is_not_that_of_another(away: FakeAgentService) -> None:
    agent = Agent(target=away.target, history=0)

    async def fails() -> None:
        with pytest.raises(ServerUnavailableError):
            await agent.arun("x")

    async def rounds() -> None:
        await fails()
        await asyncio.to_thread(asyncio.run, fails())
        with away:
            assert (await agent.arun("x")).content == "Hello world"
            await asyncio.to_thread(lambda: asyncio.run(agent.arun("x")))

    asyncio.run(rounds())


async def test_many_calls_at_once_reach_it(agent: Agent, away: FakeAgentService) -> None:
    failures = await asyncio.gather(*(agent.arun("x") for _ in range(20)), return_exceptions=True)
    assert {type(failure) for failure in failures} == {ServerUnavailableError}
    with away:
        replies = await asyncio.gather(*(agent.arun("x") for _ in range(20)))
        assert {reply.content for reply in replies} == {"Hello world"}
        async with asyncio.timeout(10):
            while away.connections() > 1:  # an attempt of a channel that was replaced may still be on its way
                await asyncio.sleep(0.01)
