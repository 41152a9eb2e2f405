"""From the contract's requests to the domain: every mistake is named, and nothing is invented."""

from __future__ import annotations

import math

import pytest
from msgspec.structs import replace

from headwater.v1 import agent_pb2, agent_service_pb2
from headwater_server.attempts.request import ParsedRequest
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.messages import (
    AgentConfig,
    Image,
    Message,
    Opaque,
    ProviderData,
    RedactedThinking,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from headwater_server.domain.stream_id import new_stream_id
from headwater_server.streaming.terms import Continuation
from headwater_server.transport.convert.requests import parse_run_request, parse_stream_request

DATA = {"provider": "openai", "account": "a1", "data_json": "{}"}


def parse(*keys: str, allow_caller_api_keys: bool = False, **fields: object) -> ParsedRequest:
    request = agent_service_pb2.StreamRequest(**fields)  # type: ignore[arg-type]
    return parse_stream_request(request, keys, allow_caller_api_keys)


def violations(*keys: str, allow_caller_api_keys: bool = False, **fields: object) -> dict[str, str]:
    """The bad fields of a request, and what is said of them."""
    with pytest.raises(HeadwaterError) as caught:
        parse(*keys, allow_caller_api_keys=allow_caller_api_keys, **fields)
    assert caught.value.reason is Reason.INVALID_REQUEST
    return {v.field: v.description for v in caught.value.violations}


def test_a_prompt_comes_after_the_conversation():
    earlier = agent_pb2.ChatMessage(role=agent_pb2.ROLE_ASSISTANT, content="Yes?")
    assert replace(parse(prompt="Hi", messages=[earlier]), size=0) == ParsedRequest(
        AgentConfig(), (Message(Role.ASSISTANT, (Text("Yes?"),)), Message(Role.USER, (Text("Hi"),)))
    )


def test_a_run_is_asked_as_a_stream_is():
    fields = {"prompt": "Hi", "agent": {"model": "m", "temperature": 0.5}}
    request = agent_service_pb2.RunRequest(**fields)
    assert parse_run_request(request, (), False) == parse(**fields)


def message(role: int, *parts: dict[str, object]) -> dict[str, object]:
    return {"messages": [{"role": role, "parts": list(parts)}]}


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({}, "prompt", "is empty"),
        ({"prompt": " \n"}, "prompt", "is empty"),
        ({"prompt": "x", "agent": {"temperature": 2.5}}, "agent.temperature", "from 0 up to 2, is 2.5"),
        ({"messages": [{"role": 2, "content": "x"}] * 10_001}, "messages", "more than 10000"),
        (message(2, *[{"text": "x"}] * 10_001), "messages", "more than 10000 parts"),
        ({"messages": [{"role": 2, "parts": [{"text": "x"}] * 101}] * 100}, "messages", "more than 10000 parts"),
        (message(3, {"tool_call": {"name": "a", "arguments_json": "1" * 1_100_000}}), "messages", "arguments"),
        ({"messages": [{"content": "x"}]}, "messages[0].role", "must be ROLE_"),
        ({"messages": [{"role": 2}]}, "messages[0].content", "is empty"),
        ({"messages": [{"role": 2, "content": "x", "parts": [{"text": "y"}]}]}, "messages[0].content", "one of them"),
        ({"messages": [{"role": 4, "content": "x"}]}, "messages[0].content", "tool_result"),
        (message(2, {"text": "x"}, {}), "messages[0].parts[1]", "says nothing"),
        (message(2, {"tool_call": {}}), "messages[0].parts[0].tool_call", "role user"),
        (message(2, {"image": {}}), "messages[0].parts[0].image", "neither"),
        (message(2, {"image": {"url": "file:///etc"}}), "messages[0].parts[0].image.url", "https"),
        (message(2, {"image": {"data": b"x"}}), "messages[0].parts[0].image.media_type", "image/png"),
        (message(3, {"tool_call": {}}), "messages[0].parts[0].tool_call.name", "is empty"),
        (message(4, {"tool_result": {}}), "messages[0].parts[0].tool_result.tool_call_id", "give the id"),
        (
            message(4, {"tool_result": {"name": "f", "failure": {"retry_delay": {"seconds": -1}}}}),
            "messages[0].parts[0].tool_result.failure",
            "must be 0 to 1 day",
        ),
        (message(2, {"text": "x", "provider_data": DATA}), "messages[0].parts[0].provider_data", "role user"),
        (message(3, {"provider_data": DATA | {"provider": ""}}), "messages[0].parts[0].provider_data.provider", "empty"),
        (message(3, {"provider_data": DATA | {"data_json": ""}}), "messages[0].parts[0].provider_data.data_json", "empty"),
        (message(3, {"provider_data": DATA | {"account": "a" * 257}}), "messages[0].parts[0].provider_data.account", "256"),
        (
            message(3, {"provider_data": DATA | {"data_json": "1" * 1_100_000}}),
            "messages[0].parts[0].provider_data.data_json",
            "1048576",
        ),
        ({"prompt": "x", "continues_stream_id": "s", "continues_sequence": 1}, "continues_stream_id", "id of a stream"),
        ({"prompt": "x", "continues_sequence": 1}, "continues_stream_id", "id of a stream"),
        ({"prompt": "x", "continues_stream_id": new_stream_id(0)}, "continues_sequence", "is 0"),
        ({"prompt": "x", "continues_stream_id": new_stream_id(0), "continues_sequence": -4}, "continues_sequence", "is -4"),
    ],
)  # fmt: skip
def test_a_bad_field_is_named_with_its_cure(fields, field, words):
    assert words in violations(**fields)[field]


def test_all_mistakes_are_named_at_once():
    bad = violations("a key", agent={"temperature": 9, "tools": [{"function": {"name": ""}}]}, continues_sequence=-1)
    assert set(bad) == {
        "prompt",
        "agent.temperature",
        "agent.tools[0].function.name",
        "continues_stream_id",
        "continues_sequence",
        "headwater-provider-key",
    }


def test_a_caller_may_bring_a_key_where_the_server_allows_it():
    parsed = parse("sk-mine", allow_caller_api_keys=True, prompt="x")
    assert parsed.provider_key == "sk-mine"
    assert "sk-mine" not in repr(parsed)


@pytest.mark.parametrize(
    ("keys", "allowed", "words"),
    [
        (("sk-mine",), False, "allow_caller_api_keys"),
        (("k\n",), True, "printable"),
        (("ключ",), True, "printable"),
        (("k" * 4097,), True, "4096"),
        (("one", "two"), True, "more than once"),
    ],
)
def test_a_bad_key_is_named_as_the_caller_sends_it(keys, allowed, words):
    assert words in violations(*keys, allow_caller_api_keys=allowed, prompt="x")["headwater-provider-key"]


def test_every_kind_of_part_has_its_place():
    messages = [
        {"role": 2, "parts": [{"text": "see"}, {"image": {"data": b"\x89PNG", "media_type": "image/png"}}]},
        {"role": 2, "parts": [{"image": {"url": "https://example.com/a.png"}}]},
        {
            "role": 3,
            "parts": [
                {"thinking": {"text": "hm", "signature": "s"}},
                {"redacted_thinking": {"data": "d"}},
                {"provider_data": DATA},
                {"tool_call": {"id": "c1", "name": "f", "arguments_json": '{"a":1}'}, "provider_data": DATA},
            ],
        },
        {"role": 4, "parts": [{"tool_result": {"tool_call_id": "c1", "content": "42"}}]},
    ]
    data = ProviderData("openai", "a1", "{}")
    call = ToolCall("c1", "f", '{"a":1}', data)
    assert parse(messages=messages).messages == (
        Message(Role.USER, (Text("see"), Image(data=b"\x89PNG", media_type="image/png"))),
        Message(Role.USER, (Image(url="https://example.com/a.png"),)),
        Message(Role.ASSISTANT, (Thinking("hm", "s"), RedactedThinking("d"), Opaque(data), call)),
        Message(Role.TOOL, (ToolResult("c1", "", "42"),)),
    )


@pytest.mark.parametrize(
    ("result", "content"),
    [
        ({"content": "no such city", "failure": {"message": "KeyError"}}, "no such city"),
        ({"failure": {"message": "timed out", "type": "TimeoutError"}}, "TimeoutError: timed out"),
        ({"failure": {"message": "timed out"}}, "timed out"),
        ({"failure": {}}, "the tool failed"),
    ],
)
def test_the_model_gets_the_content_of_a_failed_tool_or_else_why_it_failed(result, content):
    parsed = parse(messages=[{"role": 4, "parts": [{"tool_result": {"tool_call_id": "c1"} | result}]}])
    assert parsed.messages[0].parts == (ToolResult("c1", "", content, True),)


PNG = {"image": {"data": b"\x89PNG", "media_type": "image/png"}}


def test_a_result_may_have_images_among_its_texts():
    parts = [{"text": "before"}, PNG, {"text": ""}, {"text": "after"}]
    parsed = parse(messages=[{"role": 4, "parts": [{"tool_result": {"tool_call_id": "c1", "parts": parts}}]}])
    image = Image(data=b"\x89PNG", media_type="image/png")
    result = ToolResult("c1", "", "before\nafter", parts=(Text("before"), image, Text("after")))
    assert parsed.messages[0].parts == (result,)


def test_a_result_in_parts_of_text_alone_is_a_text():
    parts = [{"text": "a"}, {"text": "b"}]
    parsed = parse(messages=[{"role": 4, "parts": [{"tool_result": {"tool_call_id": "c1", "parts": parts}}]}])
    assert parsed.messages[0].parts == (ToolResult("c1", "", "a\nb"),)


@pytest.mark.parametrize(
    ("result", "field", "words"),
    [
        ({"content": "a", "parts": [{"text": "b"}]}, ".content", "use one of them"),
        ({"parts": [{"thinking": {"text": "a"}}]}, ".parts[0].thinking", "texts and images"),
        ({"parts": [{"tool_result": {"parts": [PNG]}}]}, ".parts[0].tool_result", "texts and images"),
        ({"parts": [{}]}, ".parts[0].kind", "texts and images"),
        ({"parts": [{"text": "a", "provider_data": DATA}]}, ".parts[0].text", "texts and images"),
        ({"parts": [{"image": {"data": b"1", "media_type": "text/html"}}]}, ".parts[0].image.media_type", "image/png"),
        ({"parts": [{"image": {"url": "file:///etc/passwd"}}]}, ".parts[0].image.url", "https://"),
        ({"parts": [PNG], "failure": {"message": "x"}}, ".failure", "text only"),
    ],
)
def test_what_a_result_cannot_have_is_refused_by_its_field(result, field, words):
    messages = [{"role": 4, "parts": [{"tool_result": {"tool_call_id": "c1"} | result}]}]
    assert words in violations(messages=messages)[f"messages[0].parts[0].tool_result{field}"]


def test_parts_of_results_count_among_the_parts():
    parts = [{"text": "a"}] * 10_000
    messages = [{"role": 4, "parts": [{"tool_result": {"tool_call_id": "c1", "parts": parts}}]}]
    assert "10000 parts" in violations(messages=messages)["messages"]


def test_a_later_round_names_the_stream_and_its_last_number():
    stream_id = new_stream_id(3)
    parsed = parse(prompt="x", continues_stream_id=stream_id, continues_sequence=17)
    assert parsed.continues == Continuation(stream_id, 17)


def test_a_request_that_is_wrong_everywhere_is_not_read_to_its_end():
    messages = [{"role": 2, "parts": [{}] * 10} for _ in range(900)]
    with pytest.raises(HeadwaterError) as caught:
        parse(messages=messages)
    assert 100 < len(caught.value.violations) < 200


def test_a_number_that_json_does_not_have_is_no_option():
    request = agent_service_pb2.StreamRequest(prompt="x")
    request.agent.provider_options["openai"].fields["t"].number_value = math.nan
    with pytest.raises(HeadwaterError, match=r"agent\.provider_options\.openai"):
        parse_stream_request(request, (), False)
