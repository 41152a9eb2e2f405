"""Programs that people write with the client, in the order in which they learn it. Each test is such a program."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import click
import pytest
from click.testing import CliRunner

from headwater import Agent
from headwater.core.agent import Agent as AgentOfCore
from headwater.core.exceptions import HeadwaterError, ProviderError
from headwater.core.streaming import (
    StreamChunk,
    StreamingManager,
    StreamingResponse,
    StreamInterruptedError,
    collect_stream,
    create_mock_stream,
)
from headwater.v1 import agent_pb2
from tests.support.services.fake_agent_service import Chunks, FakeAgentService, final, first, say_forever, say_then_wait


@pytest.fixture(autouse=True)
def _target(service: FakeAgentService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADWATER_TARGET", service.target)


def test_quick_start(capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        agent = Agent(name="StreamingAgent", model="gpt-4o-mini")
        async for chunk in agent.stream("Tell me a story"):
            print(chunk.content, end="", flush=True)

    asyncio.run(main())
    assert capsys.readouterr().out == "Hello world"


async def test_collecting_the_complete_response() -> None:
    response = StreamingResponse()
    async for chunk in Agent().stream("List the planets"):
        response.add_chunk(chunk)
    assert f"{response.complete_text} {response.chunk_count}" == "Hello world 4"
    assert float(f"{response.duration:.2f}") >= 0


async def test_checking_what_the_provider_supports() -> None:
    agent = Agent()
    info = agent.get_provider_info()
    assert info["supports_streaming"]
    response = await agent.arun("Hi")
    assert response.content == "Hello world"


async def test_leaving_after_a_hundred_characters(service: FakeAgentService) -> None:
    service.reply = lambda request, context: say_forever("0123456789")
    characters = 0
    async for chunk in Agent().stream("Write a long essay"):
        characters += len(chunk.content)
        if characters > 100:
            break
    assert characters == 110
    await asyncio.to_thread(service.wait_for_leaving)


async def test_the_partial_text_of_an_interruption(service: FakeAgentService) -> None:
    async def cut(request: object, context: object) -> Chunks:
        yield first("so far")

    service.reply = cut
    with pytest.raises(StreamInterruptedError) as caught:
        async for _ in Agent().stream("Write a long essay"):
            pass
    assert caught.value.partial_response == "so far"


async def test_parameters_of_a_call(service: FakeAgentService) -> None:
    async for _ in Agent().stream("Write a creative story", temperature=0.9, max_tokens=500, top_p=0.95):
        pass
    request = service.requests[0]
    assert (request.agent.temperature, request.agent.max_tokens, request.agent.top_p) == (0.9, 500, 0.95)


async def test_tracking_progress() -> None:
    start, tokens = time.time(), 0
    async for chunk in Agent().stream("Explain machine learning"):
        tokens += len(chunk.content.split())
        elapsed = time.time() - start
        assert (tokens / elapsed if elapsed > 0 else 0) >= 0
    assert tokens == 2


async def test_usage_and_event_types_in_the_metadata(service: FakeAgentService) -> None:
    async def reply(request: object, context: object) -> Chunks:
        yield first("DNA", event_type="content_block_delta")
        yield final(usage=agent_pb2.Usage(total_tokens=7), event_type="message_stop")

    service.reply = reply
    agent = Agent(provider="anthropic", model="claude-3-5-sonnet-latest")
    texts, usage = [], []
    async for chunk in agent.stream("Explain DNA"):
        if chunk.metadata.get("event_type") == "content_block_delta":
            texts.append(chunk.content)
        if chunk.metadata.get("usage"):
            usage.append(chunk.metadata["usage"])
    assert (texts, usage) == (["DNA"], [{"total_tokens": 7}])


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


async def test_several_streams_at_once() -> None:
    agent = Agent()
    tasks = [asyncio.create_task(collect_stream(agent.stream(prompt))) for prompt in ("a", "b", "c")]
    assert [response.complete_text for response in await asyncio.gather(*tasks)] == ["Hello world"] * 3


async def test_a_timeout_for_the_whole_stream(service: FakeAgentService) -> None:
    manager = StreamingManager(timeout=30.0)
    chunks = [chunk.content async for chunk in manager.stream_with_timeout(Agent().stream("Hi"))]
    assert "".join(chunks) == "Hello world"

    service.reply = lambda request, context: say_then_wait("so far")
    with pytest.raises(asyncio.TimeoutError):
        async for _ in StreamingManager(timeout=0.2).stream_with_timeout(Agent().stream("Hi")):
            pass
    await asyncio.to_thread(service.wait_for_leaving)


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


def test_a_command_line_application() -> None:
    @click.command()
    @click.argument("prompt")
    def stream_cli(prompt: str) -> None:
        async def run() -> None:
            agent = Agent()
            async for chunk in agent.stream(prompt):
                click.echo(chunk.content, nl=False)

        asyncio.run(run())

    assert CliRunner().invoke(stream_cli, ["Hi"]).output == "Hello world"


def test_the_import_paths_lead_to_the_same_names() -> None:
    assert AgentOfCore is Agent
