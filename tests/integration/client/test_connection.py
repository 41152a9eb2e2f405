"""A connection: one server for several agents, with private channels that it can close."""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import Callable

import pytest

from headwater import Agent, Connection, StreamInterruptedError, ValidationError, WorkflowAgent
from headwater._grpc.channels import channels_of_running_loop
from tests.support.services.fake_agent_service import FakeAgentService, say_forever


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def text(agent: Agent) -> str:
    return (await agent.arun("Hi")).content


async def test_agents_share_its_channel_and_it_closes_it(service: FakeAgentService) -> None:
    async with Connection(service.target) as connection:
        agents = [Agent(connection=connection), WorkflowAgent(connection=connection), Agent(target=service.target)]
        assert [await text(agent) for agent in agents] == ["Hello world"] * 3
        assert service.connections() == 2  # its own, and the one that agents with a target share
    await until(lambda: service.connections() == 1)
    assert await text(agents[2]) == "Hello world"


async def test_after_close_the_next_call_connects_again(service: FakeAgentService) -> None:
    connection = Connection(service.target)
    agent = Agent(connection=connection)
    for _ in range(2):
        assert await text(agent) == "Hello world"
        await connection.close()
        await until(lambda: service.connections() == 0)
    await connection.close()


async def test_close_ends_its_streams_and_no_others(service: FakeAgentService) -> None:
    service.reply = lambda request, context: say_forever()
    connection = Connection(service.target)
    own, other = Agent(connection=connection).stream("Hi"), Agent(target=service.target).stream("Hi")
    await anext(own)
    await anext(other)
    await connection.close()
    with pytest.raises(StreamInterruptedError):
        await anext(own)
    assert (await anext(other)).content
    await other.aclose()


async def test_close_closes_its_channel_on_the_loop_of_synchronous_calls_too(service: FakeAgentService) -> None:
    connection = Connection(service.target)
    agent = Agent(connection=connection)
    assert (await asyncio.to_thread(agent.run, "Hi")).content == "Hello world"
    assert service.connections() == 1
    await connection.close()
    await until(lambda: service.connections() == 0)


def test_one_connection_through_two_runs_of_asyncio(service: FakeAgentService) -> None:
    agent = Agent(connection=Connection(service.target))
    assert [asyncio.run(text(agent)) for _ in range(2)] == ["Hello world"] * 2


async def test_its_token_lets_in_and_an_agent_may_have_another(service: FakeAgentService) -> None:
    async with Connection(service.target, token="of-all") as connection:
        await text(Agent(connection=connection))
        await text(Agent(connection=connection, token="of-one"))
    assert [headers.get("authorization") for headers in service.headers] == ["Bearer of-all", "Bearer of-one"]


async def test_its_target_comes_from_the_environment_at_each_call(
    service: FakeAgentService, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Connection() as connection:
        monkeypatch.setenv("HEADWATER_TARGET", service.target)
        assert connection.target == service.target
        assert await text(Agent(connection=connection)) == "Hello world"


async def test_copies_have_the_settings_and_channels_of_their_own(service: FakeAgentService) -> None:
    async with Connection(service.target, token="secret") as connection:
        for other in (copy.copy(connection), pickle.loads(pickle.dumps(connection))):  # noqa: S301
            assert await text(Agent(connection=other)) == "Hello world"
            await other.close()
        agent = Agent(connection=connection)
        assert copy.copy(agent).connection is connection
        assert "secret" not in repr(connection)
    assert not channels_of_running_loop().has(connection._owner)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Connection("no port"), "target"),
        (lambda: Connection("host"), "target"),
        (lambda: Connection("h:1", token="new\nline"), "token"),
        (lambda: Agent(connection="h:1"), "connection"),  # type: ignore[arg-type]
        (lambda: Agent(target="h:1", connection=Connection()), "target"),
    ],
)
def test_a_bad_value_is_refused_at_once(make: object, field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        make()  # type: ignore[operator]
    assert [name for name, _ in caught.value.violations] == [field]
    assert "new" not in str(caught.value)
