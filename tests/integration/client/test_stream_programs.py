"""Programs that people write around streams: retries, interruptions, timeouts. Each test is such a program."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from headwater import Agent
from headwater.core.agent import Agent as AgentOfCore
from headwater.core.exceptions import HeadwaterError, ProviderError
from headwater.core.streaming import (
    StreamChunk,
    StreamingManager,
    StreamInterruptedError,
    collect_stream,
    create_mock_stream,
)
from tests.support.services.fake_agent_service import Chunks, FakeAgentService, final, first, say_forever, say_then_wait


@pytest.fixture(autouse=True)
def _target(service: FakeAgentService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADWATER_TARGET", service.target)


async def test_the_errors_that_people_catch(service: FakeAgentService) -> None:
    service.reply = lambda request, context: say_then_wait("so far")
    caught = ""
    try:
        async for _ in Agent(timeout=0.2).stream("Hi"):
            pass
    except asyncio.TimeoutError:  # noqa: UP041 - as many programs still write it
        caught = "timeout"
    except ProviderError:
        caught = "provider"
    assert caught == "timeout"


async def test_retrying_in_a_generator_of_ones_own(service: FakeAgentService) -> None:
    async def stream_with_retry(agent: Agent, prompt: str, max_retries: int = 3) -> AsyncIterator[StreamChunk]:
        for attempt in range(max_retries):
            try:
                async for chunk in agent.stream(prompt):
                    yield chunk
                break
            except HeadwaterError:
                if attempt == max_retries - 1:
                    raise

    async def cut_once(request: object, context: object) -> Chunks:
        if len(service.requests) == 1:
            yield first("lost ")
            return
        yield first("whole")
        yield final()

    service.reply = cut_once
    agent = Agent()
    assert [chunk.content async for chunk in stream_with_retry(agent, "Hi")] == ["lost ", "whole", ""]
    assert len(service.requests[1].messages) == 1
    assert [message["content"] for message in agent.messages] == ["Hi", "whole"]


async def test_interrupting_a_stream_from_outside_by_its_id(service: FakeAgentService) -> None:
    service.reply = lambda request, context: say_then_wait("so far")
    manager = StreamingManager()
    stream = manager.stream_with_timeout(Agent().stream("Hi"))
    await anext(stream)
    asyncio.get_running_loop().call_later(0.02, manager.interrupt_stream, "w0-1")
    with pytest.raises(StreamInterruptedError) as caught:
        await anext(stream)
    assert caught.value.partial_response == "so far"
    await asyncio.to_thread(service.wait_for_leaving)


async def test_dropping_a_managed_stream_ends_the_call(service: FakeAgentService) -> None:
    service.reply = lambda request, context: say_forever()
    async for _ in StreamingManager(timeout=30).stream_with_timeout(Agent().stream("Hi")):
        break
    await asyncio.to_thread(service.wait_for_leaving)


async def test_a_mock_stream_takes_the_place_of_an_agents() -> None:
    response = await collect_stream(create_mock_stream("Calculating...", chunk_size=5, delay=0))
    assert (response.complete_text, response.chunks[-1].is_final) == ("Calculating...", True)


def test_the_import_paths_lead_to_the_same_names() -> None:
    assert AgentOfCore is Agent
