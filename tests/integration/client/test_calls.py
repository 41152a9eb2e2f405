"""Whole calls over a real socket: the request, the reply, and the state after an error."""

from __future__ import annotations

import asyncio
import copy
import traceback
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict
from google.rpc.error_details_pb2 import BadRequest, RetryInfo

from headwater import (
    Agent,
    Image,
    MessageTooLargeError,
    ProviderError,
    ProviderRateLimitError,
    ServerUnavailableError,
    StreamInterruptedError,
    ValidationError,
)
from headwater.v1 import agent_pb2
from tests.support.services.fake_agent_service import (
    Chunks,
    FakeAgentService,
    error_info,
    fail,
    final,
    first,
    say,
    say_forever,
    say_then_wait,
)


def conversation(service: FakeAgentService) -> list[str]:
    """The texts of the last request."""
    return [part.text for message in service.requests[-1].messages for part in message.parts]


async def test_a_whole_reply_has_everything_that_came(agent: Agent, service: FakeAgentService) -> None:
    async def reply(request: object, context: object) -> Chunks:
        yield first(thinking="Let me ")
        yield agent_pb2.StreamChunk(thinking="see.", thinking_signature="sig", sequence=2)
        yield agent_pb2.StreamChunk(content="Yes", sequence=3, event_type="delta")
        yield agent_pb2.StreamChunk(content=".", sequence=4)
        yield final(
            sequence=5,
            usage=agent_pb2.Usage(input_tokens=1, output_tokens=2, total_tokens=3),
            tool_calls=[agent_pb2.ToolCall(id="1", name="add", arguments_json='{"a": 1}')],
        )

    service.reply = reply
    response = await agent.arun("Well?")
    calls = [{"id": "1", "name": "add", "arguments": {"a": 1}}]
    assert (str(response), response.content, response.reasoning) == ("Yes.", "Yes.", "Let me see.")
    assert response.tool_calls == calls
    assert response.metadata == {
        "stream_id": "w0-1",
        "model": "fake-1",
        "provider": "fake",
        "finish_reason": "stop",
        "usage": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
        "tool_calls": calls,
    }
    assert response.agent_id == agent.id
    assert (datetime.now(UTC) - response.created_at).total_seconds() < 10


async def test_the_words_of_a_refusal_are_in_the_metadata(agent: Agent, service: FakeAgentService) -> None:
    async def reply(request: object, context: object) -> Chunks:
        yield first(refusal="I can")
        yield agent_pb2.StreamChunk(refusal="not.", sequence=2)
        yield final()

    service.reply = reply
    response = await agent.arun("Well?")
    assert (response.content, response.metadata["refusal"]) == ("", "I cannot.")


async def test_a_token_is_sent_with_every_call(service: FakeAgentService) -> None:
    agent = Agent(target=service.target, token="tok-1")
    await agent.arun("Hi")
    assert service.headers[0]["authorization"] == "Bearer tok-1"
    await Agent(target=service.target).arun("Hi")
    assert "authorization" not in service.headers[1]


async def test_a_conversation_grows_by_prompt_and_reply(agent: Agent, service: FakeAgentService) -> None:
    await agent.arun("one")
    await agent.arun("two")
    assert conversation(service) == ["one", "Hello world", "two"]
    await agent.arun("three")
    assert conversation(service) == ["one", "Hello world", "two", "Hello world", "three"]
    agent.clear_memory()
    await agent.arun("four")
    assert conversation(service) == ["four"]


async def test_messages_replace_the_history_for_one_call_only(agent: Agent, service: FakeAgentService) -> None:
    await agent.arun("one")
    await agent.arun("two", messages=[{"role": "user", "content": "else"}])
    assert conversation(service) == ["else", "two"]
    await agent.arun("three")
    assert conversation(service) == ["one", "Hello world", "three"]


async def test_the_kept_messages_can_be_handed_to_another_agent(agent: Agent, service: FakeAgentService) -> None:
    await agent.arun([{"type": "text", "text": "one"}, {"type": "image", "data": b"x", "media_type": "image/png"}])
    await agent.arun("two")
    expected = service.requests[-1]
    await Agent(target=service.target).arun("two", messages=agent.messages[:2])
    assert service.requests[-1] == expected


async def test_concurrent_streams_of_one_agent_do_not_mix(agent: Agent, service: FakeAgentService) -> None:
    service.reply = lambda request, context: say(f"to {request.messages[-1].parts[0].text}")
    await asyncio.gather(*(agent.arun(f"q{number}") for number in range(20)))
    assert all(len(request.messages) == 1 for request in service.requests)
    messages = agent.messages
    assert len(messages) == 20
    for prompt, reply in zip(messages[::2], messages[1::2], strict=True):
        assert reply["content"] == f"to {prompt['content']}"


async def test_signed_thinking_goes_back_with_the_history(agent: Agent, service: FakeAgentService) -> None:
    async def reply(request: object, context: object) -> Chunks:
        yield first(thinking="Hm.", thinking_signature="sig")
        yield agent_pb2.StreamChunk(content="Yes.", sequence=2)
        yield final()

    service.reply = reply
    await agent.arun("one")
    await agent.arun("two")
    assert [MessageToDict(part) for part in service.requests[-1].messages[1].parts] == [
        {"thinking": {"text": "Hm.", "signature": "sig"}},
        {"text": "Yes."},
    ]


async def test_a_reply_that_was_left_is_kept_marked_until_the_retry_succeeds(
    agent: Agent, service: FakeAgentService
) -> None:
    service.reply = lambda request, context: say_then_wait("par", "tial")
    async for chunk in agent.stream("one"):
        if chunk.content == "tial":
            break
    assert agent.messages == [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "partial", "interrupted": True},
    ]
    service.reply = lambda request, context: say("whole")
    await agent.arun("one")
    assert conversation(service) == ["one"]
    assert agent.messages[1:] == [{"role": "assistant", "content": "whole"}]


async def test_a_stream_dropped_before_a_word_leaves_nothing(agent: Agent, service: FakeAgentService) -> None:
    service.reply = lambda request, context: say_then_wait()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await anext(agent.stream("one"))
    assert agent.messages == []


async def test_breaking_at_the_final_chunk_is_a_good_end(agent: Agent) -> None:
    async for chunk in agent.stream("one"):
        if chunk.is_final:
            break
    assert agent.messages[1] == {"role": "assistant", "content": "Hello world"}


async def test_a_connection_lost_in_mid_stream_keeps_the_partial_text(agent: Agent, service: FakeAgentService) -> None:
    async def reply(request: object, context: Any) -> Chunks:
        yield first("half")
        await fail(context, grpc.StatusCode.ABORTED, "the provider hung up", error_info("STREAM_INTERRUPTED"))

    service.reply = reply
    with pytest.raises(StreamInterruptedError, match="hung up") as caught:
        await agent.arun("one")
    assert (caught.value.partial_response, caught.value.reason) == ("half", "STREAM_INTERRUPTED")
    assert agent.messages[1]["interrupted"]


async def refuse_with_rate_limit(request: object, context: Any) -> Chunks:
    info = error_info("PROVIDER_RATE_LIMITED", provider="fake", http_status="429")
    retry = RetryInfo(retry_delay=Duration(seconds=2))
    await fail(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down — später", info, retry)
    yield


async def test_an_error_leaves_nothing_and_the_next_call_works(agent: Agent, service: FakeAgentService) -> None:
    service.reply = refuse_with_rate_limit
    with pytest.raises(ProviderRateLimitError, match="slow down — später") as caught:
        await agent.arun("one")
    assert (caught.value.provider, caught.value.http_status, caught.value.retry_after) == ("fake", 429, 2.0)
    assert agent.messages == []
    service.reply = lambda request, context: say("fine")
    assert str(await agent.arun("one")) == "fine"


async def test_a_field_that_the_server_refuses_is_named(agent: Agent, service: FakeAgentService) -> None:
    async def reply(request: object, context: Any) -> Chunks:
        bad = BadRequest(field_violations=[BadRequest.FieldViolation(field="temperature", description="0 to 2")])
        await fail(context, grpc.StatusCode.INVALID_ARGUMENT, "temperature: 0 to 2", error_info("INVALID_REQUEST"), bad)
        yield

    service.reply = reply
    with pytest.raises(ValidationError) as caught:
        await agent.arun("one", temperature=9)
    assert caught.value.violations == [("temperature", "0 to 2")]


async def refuse_image(request: Any, context: Any) -> Chunks:
    if not any(part.HasField("image") for part in request.messages[-1].parts):
        yield first("Yes.")
        yield final()
        return
    field = f"messages[{len(request.messages) - 1}].parts[0].image.url"
    bad = BadRequest(field_violations=[BadRequest.FieldViolation(field=field, description="unknown scheme")])
    await fail(
        context, grpc.StatusCode.INVALID_ARGUMENT, f"{field}: unknown scheme", error_info("INVALID_REQUEST"), bad
    )


async def test_a_prompt_that_the_server_refuses_is_named_prompt(agent: Agent, service: FakeAgentService) -> None:
    service.reply = refuse_image
    await agent.arun("one")
    await agent.arun("two")
    for arguments in ({}, {"messages": [{"role": "user", "content": "else"}]}):
        with pytest.raises(ValidationError) as caught:
            await agent.arun([Image(url="https://a")], **arguments)
        assert caught.value.violations == [("prompt[0].url", "unknown scheme")]
        assert str(caught.value) == "prompt[0].url: unknown scheme"


async def test_a_call_without_history_leaves_it_as_it_is(agent: Agent, service: FakeAgentService) -> None:
    await agent.arun("one")
    await agent.arun("aside", history=0)
    assert conversation(service) == ["aside"]
    await agent.arun("two")
    assert conversation(service) == ["one", "Hello world", "two"]
    await agent.arun("three", history=2)
    assert conversation(service) == ["two", "Hello world", "three"]
    agent.history = 0
    await agent.arun("four")
    assert conversation(service) == ["four"]
    assert agent.messages == []


async def test_a_copy_does_not_talk_in_the_conversation_of_its_original(
    agent: Agent, service: FakeAgentService
) -> None:
    await agent.arun("one")
    twin = copy.copy(agent)
    assert (await twin.arun("two")).content == "Hello world"
    assert conversation(service) == ["two"]
    assert [message["content"] for message in agent.messages] == ["one", "Hello world"]


@pytest.mark.parametrize("call", ["arun", "aget_provider_info"])
async def test_the_traceback_of_an_error_is_that_of_the_caller(call: str) -> None:
    with FakeAgentService() as service:
        agent = Agent(target=service.target)
    with pytest.raises(ServerUnavailableError) as caught:
        await (agent.arun("Hi") if call == "arun" else agent.aget_provider_info())
    assert "debug_error_string" not in "".join(traceback.format_exception(caught.value))
    assert isinstance(caught.value.__context__, grpc.aio.AioRpcError)


def test_errors_of_synchronous_calls_are_the_same(service: FakeAgentService) -> None:
    service.reply = refuse_with_rate_limit
    agent = Agent(target=service.target)
    with pytest.raises(ProviderError):
        agent.run("one")
    with pytest.raises(ProviderError):
        list(agent.stream_sync("one"))


@pytest.mark.parametrize("call", ["arun", "aget_provider_info", "alist_available_providers"])
async def test_a_server_that_is_not_there_is_named(call: str) -> None:
    with FakeAgentService() as service:
        target = service.target
    arguments = ["Hi"] if call == "arun" else []
    with pytest.raises(ServerUnavailableError, match=target) as caught:
        await getattr(Agent(target=target), call)(*arguments)
    assert isinstance(caught.value, ConnectionError)


async def test_a_prompt_beyond_the_limit_is_not_sent_and_the_next_call_works(
    agent: Agent, service: FakeAgentService
) -> None:
    with pytest.raises(MessageTooLargeError):
        await agent.arun("x" * (33 << 20))
    assert service.requests == []
    assert service.connections() == 0
    assert str(await agent.arun("Hi")) == "Hello world"


async def test_a_prompt_within_the_limit_is_sent(agent: Agent, service: FakeAgentService) -> None:
    prompt = "x" * (31 << 20)
    assert str(await agent.arun(prompt)) == "Hello world"
    assert conversation(service) == [prompt]


async def test_options_go_to_the_provider_that_the_server_names_asked_once_a_model(
    agent: Agent, service: FakeAgentService
) -> None:
    for _ in range(2):
        await agent.arun("Hi", model="fake-1", num_ctx=8192)
        assert MessageToDict(service.requests[-1].agent)["providerOptions"] == {"fake": {"num_ctx": 8192.0}}
    assert [request.model for request in service.info_requests] == ["fake-1"]
    await agent.arun("Hi", model="fake-2", num_ctx=8192)
    assert [request.model for request in service.info_requests] == ["fake-1", "fake-2"]


async def test_closing_a_stream_ends_the_question_for_its_provider_too(agent: Agent, service: FakeAgentService) -> None:
    service.info_seconds = 30
    stream = agent.stream("Hi", num_ctx=8192)
    reader = asyncio.create_task(anext(stream))
    await asyncio.to_thread(service.wait_for_info_request)
    await stream.aclose()
    with pytest.raises(StreamInterruptedError):
        await reader
    assert service.requests == []


async def test_nobody_is_asked_when_the_provider_is_named(agent: Agent, service: FakeAgentService) -> None:
    await agent.arun("Hi", provider="fake", num_ctx=8192)
    assert service.info_requests == []


async def test_get_provider_info_asks_about_the_agents_provider_and_model(service: FakeAgentService) -> None:
    service.info.model = ""
    agent = Agent(target=service.target, provider="fake", model="fake-2")
    assert (await agent.aget_provider_info())["model"] is None
    request = service.info_requests[0]
    assert (request.provider, request.model) == ("fake", "fake-2")
    assert await agent.alist_available_providers() == ["fake", "other"]


async def test_a_hundred_streams_make_progress_at_once(service: FakeAgentService) -> None:
    service.reply = lambda request, context: say_forever()
    agent = Agent(target=service.target)
    streams = [agent.stream(f"q{number}") for number in range(100)]
    for _ in range(3):
        chunks = await asyncio.gather(*(anext(stream) for stream in streams))
        assert [chunk.content for chunk in chunks] == ["word "] * 100
    assert service.connections() == 1
    for stream in streams:
        await stream.aclose()
