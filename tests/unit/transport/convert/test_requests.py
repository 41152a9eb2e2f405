"""From the contract's request to the domain: every mistake is named, and nothing is invented."""

from __future__ import annotations

import math

import pytest

from headwater.v1 import agent_pb2, agent_service_pb2
from headwater_server.domain.errors import FieldViolation, HeadwaterError, Reason
from headwater_server.domain.messages import (
    Image,
    Message,
    RedactedThinking,
    ResponseFormatType,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolChoiceMode,
    ToolResult,
)
from headwater_server.streaming.live import Timeouts
from headwater_server.transport.convert.requests import Ask, parse_options, parse_request, without_instructions

SERVER = Timeouts(300, 120)


def parse(allow_caller_api_keys: bool = False, **fields: object) -> Ask:
    request = agent_service_pb2.StreamRequest(**fields)  # type: ignore[arg-type]
    return parse_request(request, SERVER, allow_caller_api_keys)


def violations(**fields: object) -> dict[str, str]:
    """The bad fields of a request, and what is said of them."""
    with pytest.raises(HeadwaterError) as caught:
        parse(**fields)
    assert caught.value.reason is Reason.INVALID_REQUEST
    return {v.field: v.description for v in caught.value.violations}


def test_a_prompt_and_instructions_become_messages_around_the_conversation():
    earlier = agent_pb2.Message(role=agent_pb2.ROLE_ASSISTANT, content="Yes?")
    ask = parse(prompt="Hi", instructions="Be brief.", messages=[earlier])
    assert ask.request.messages == (
        Message(Role.SYSTEM, (Text("Be brief."),)),
        Message(Role.ASSISTANT, (Text("Yes?"),)),
        Message(Role.USER, (Text("Hi"),)),
    )


def test_what_nobody_set_is_not_there():
    ask = parse(prompt="Hi")
    assert ask.request.sampling == {}
    assert ask.request.tool_choice is None
    assert ask.request.response_format is None
    assert ask.timeouts == SERVER


def test_what_somebody_set_is_there_even_when_it_is_zero():
    ask = parse(prompt="Hi", temperature=0.0, seed=0, presence_penalty=-0.5, stop=["a", "b"], max_tokens=7, top_p=1)
    assert ask.request.sampling == {
        "temperature": 0, "top_p": 1, "presence_penalty": -0.5, "max_tokens": 7, "seed": 0, "stop": ["a", "b"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({}, "prompt", "is empty"),
        ({"prompt": " \n"}, "prompt", "is empty"),
        ({"prompt": "x", "temperature": 2.5}, "temperature", "from 0 up to 2, is 2.5"),
        ({"prompt": "x", "temperature": math.nan}, "temperature", "is nan"),
        ({"prompt": "x", "top_p": 0.0}, "top_p", "above 0"),
        ({"prompt": "x", "frequency_penalty": -3}, "frequency_penalty", "from -2 up to 2"),
        ({"prompt": "x", "presence_penalty": math.inf}, "presence_penalty", "is inf"),
        ({"prompt": "x", "max_tokens": 0}, "max_tokens", "at least 1"),
        ({"prompt": "x", "stop": ["a", ""]}, "stop[1]", "is empty"),
        ({"prompt": "x", "model": "m" * 257}, "model", "longer than 256"),
        ({"prompt": "x", "provider": "p" * 257}, "provider", "longer than 256"),
        ({"prompt": "x", "api_key": "sk-mine"}, "api_key", "allow_caller_api_keys"),
        ({"prompt": "x", "unsupported_params": 9}, "unsupported_params", "not a value"),
        ({"prompt": "x", "timeouts": {"first_chunk_ms": 0}}, "timeouts.first_chunk_ms", "milliseconds, is 0"),
        ({"prompt": "x", "timeouts": {"next_chunk_ms": -1}}, "timeouts.next_chunk_ms", "milliseconds, is -1"),
        ({"prompt": "x", "tools": [{"name": "a b"}]}, "tools[0].name", "letters"),
        ({"prompt": "x", "tools": [{"name": "a"}, {"name": "a"}]}, "tools[1].name", "must differ"),
        ({"prompt": "x", "tools": [{"name": "a", "parameters": "{"}]}, "tools[0].parameters", "is not JSON"),
        ({"prompt": "x", "tools": [{"name": "a", "parameters": "[]"}]}, "tools[0].parameters", "must be a JSON object"),
        ({"prompt": "x", "tools": [{"name": "a", "parameters": '{"a":NaN}'}]}, "tools[0].parameters", "a number that JSON does not have"),
        ({"prompt": "x", "tools": [{"name": "a", "parameters": "[" * 100_000}]}, "tools[0].parameters", "too deep"),
        ({"prompt": "x", "tools": [{"name": "a", "parameters": '{"a":1e999}'}]}, "tools[0].parameters", "a number"),
        ({"prompt": "x", "tools": [{"name": "a", "parameters": '{"a":"\\ud800"}'}]}, "tools[0].parameters", "surrogate"),
        ({"messages": [{"role": 2, "content": "x"}] * 10_001}, "messages", "more than 10000"),
        ({"messages": [{"role": 2, "parts": [{"text": "x"}] * 10_001}]}, "messages", "more than 10000 parts"),
        ({"messages": [{"role": 2, "parts": [{"text": "x"}] * 101}] * 100}, "messages", "more than 10000 parts"),
        ({"prompt": "x", "tools": [{"name": "a", "parameters": "[" * 1_100_000}]}, "tools", "more than 1048576"),
        ({"messages": [{"role": 3, "parts": [{"tool_call": {"name": "a", "arguments": "1" * 1_100_000}}]}]}, "messages", "arguments"),
        ({"prompt": "x", "stop": ["x"] * 10_001}, "stop", "more than 10000"),
        ({"prompt": "x", "api_key": "k\n"}, "api_key", "printable"),
        ({"prompt": "x", "tool_choice": {"mode": 1}}, "tool_choice", "without tools"),
        ({"prompt": "x", "tools": [{"name": "a"}], "tool_choice": {"mode": 1, "name": "a"}}, "tool_choice.name", "only for"),
        ({"prompt": "x", "tools": [{"name": "a"}], "tool_choice": {"mode": 3, "name": "b"}}, "tool_choice.name", "not the name"),
        ({"prompt": "x", "tools": [{"name": "a"}], "tool_choice": {"mode": 77}}, "tool_choice.mode", "not a value"),
        ({"prompt": "x", "response_format": {"type": 3}}, "response_format.schema", "is not JSON"),
        ({"prompt": "x", "response_format": {"type": 2, "schema": "{}"}}, "response_format.schema", "only for"),
        ({"prompt": "x", "response_format": {"type": 3, "schema": "{}", "name": "a b"}}, "response_format.name", "letters"),
        ({"prompt": "x", "response_format": {"type": 8}}, "response_format.type", "not a value"),
        ({"messages": [{"content": "x"}]}, "messages[0].role", "must be ROLE_"),
        ({"messages": [{"role": 2}]}, "messages[0].content", "is empty"),
        ({"messages": [{"role": 2, "content": "x", "parts": [{"text": "y"}]}]}, "messages[0].content", "one of them"),
        ({"messages": [{"role": 4, "content": "x"}]}, "messages[0].content", "tool_result"),
        ({"messages": [{"role": 2, "parts": [{}]}]}, "messages[0].parts[0]", "says nothing"),
        ({"messages": [{"role": 2, "parts": [{"tool_call": {}}]}]}, "messages[0].parts[0].tool_call", "role user"),
        ({"messages": [{"role": 2, "parts": [{"image": {}}]}]}, "messages[0].parts[0].image", "neither"),
        ({"messages": [{"role": 2, "parts": [{"image": {"url": "file:///etc"}}]}]}, "messages[0].parts[0].image.url", "https"),
        ({"messages": [{"role": 2, "parts": [{"image": {"data": b"x"}}]}]}, "messages[0].parts[0].image.media_type", "image/png"),
        ({"messages": [{"role": 3, "parts": [{"tool_call": {}}]}]}, "messages[0].parts[0].tool_call.name", "is empty"),
        ({"messages": [{"role": 4, "parts": [{"tool_result": {}}]}]}, "messages[0].parts[0].tool_result.tool_call_id", "give the id"),
    ],
)  # fmt: skip
def test_a_bad_field_is_named_with_its_cure(fields, field, words):
    assert words in violations(**fields)[field]


def test_all_mistakes_are_named_at_once():
    bad = violations(temperature=9, max_tokens=-1, tools=[{"name": ""}])
    assert set(bad) == {"prompt", "temperature", "max_tokens", "tools[0].name"}


def test_a_caller_may_bring_a_key_where_the_server_allows_it():
    ask = parse(allow_caller_api_keys=True, prompt="x", api_key="sk-mine")
    assert ask.request.api_key == "sk-mine"
    assert "sk-mine" not in repr(ask)


def test_the_callers_timeouts_go_over_the_servers():
    assert parse(prompt="x", timeouts={"next_chunk_ms": 1500}).timeouts == Timeouts(300, 1.5)


def test_options_become_json_with_integers_and_sorted_keys():
    request = agent_service_pb2.StreamRequest(prompt="x")
    request.provider_options["ollama"].update({"num_ctx": 8192, "a": [1.5, None, True, {"z": "s", "b": 2}]})
    options = parse_options(request, "ollama")
    assert options == {"a": [1.5, None, True, {"b": 2, "z": "s"}], "num_ctx": 8192}
    assert list(options) == ["a", "num_ctx"]
    assert isinstance(options["num_ctx"], int)


def test_options_that_json_does_not_have_are_refused():
    request = agent_service_pb2.StreamRequest(prompt="x")
    request.provider_options["openai"].fields["t"].number_value = math.nan
    with pytest.raises(HeadwaterError, match=r"provider_options\.openai"):
        parse_options(request, "openai")


def test_schemas_keep_their_order_and_their_numbers():
    text = '{"zebra": 9007199254740993, "apple": 3.0}'
    ask = parse(
        prompt="x", tools=[{"name": "a", "parameters": text, "strict": True}], tool_choice={"mode": 3, "name": "a"}
    )
    [tool] = ask.request.tools
    assert list(tool.parameters.items()) == [("zebra", 9007199254740993), ("apple", 3.0)]
    assert tool.strict is True
    assert ask.request.tool_choice is not None
    assert ask.request.tool_choice.mode is ToolChoiceMode.REQUIRED


def test_a_schema_for_the_reply():
    form = parse(prompt="x", response_format={"type": 3, "schema": '{"type": "object"}'}).request.response_format
    assert form is not None
    assert (form.type, form.schema, form.name) == (ResponseFormatType.JSON_SCHEMA, {"type": "object"}, "response")


def test_every_kind_of_part_has_its_place():
    messages = [
        {"role": 2, "parts": [{"text": "see"}, {"image": {"data": b"\x89PNG", "media_type": "image/png"}}]},
        {"role": 2, "parts": [{"image": {"url": "https://example.com/a.png"}}]},
        {
            "role": 3,
            "parts": [
                {"thinking": {"text": "hm", "signature": "s"}},
                {"redacted_thinking": {"data": "d"}},
                {"tool_call": {"id": "c1", "name": "f", "arguments": '{"a":1}'}},
            ],
        },
        {"role": 4, "parts": [{"tool_result": {"tool_call_id": "c1", "content": "42", "is_error": True}}]},
    ]
    assert parse(messages=messages).request.messages == (
        Message(Role.USER, (Text("see"), Image(data=b"\x89PNG", media_type="image/png"))),
        Message(Role.USER, (Image(url="https://example.com/a.png"),)),
        Message(Role.ASSISTANT, (Thinking("hm", "s"), RedactedThinking("d"), ToolCall("c1", "f", '{"a":1}'))),
        Message(Role.TOOL, (ToolResult("c1", "", "42", True),)),
    )


def test_a_violation_counts_messages_as_the_caller_does():
    ours = FieldViolation("messages[3].parts[0].image.url", "Ollama takes no URLs")
    assert without_instructions(ours).field == "messages[2].parts[0].image.url"
    assert without_instructions(FieldViolation("tools[1].name", "x")).field == "tools[1].name"


def test_options_of_a_provider_that_does_not_answer_are_never_looked_at():
    request = agent_service_pb2.StreamRequest(prompt="x")
    request.provider_options["other"].fields["t"].number_value = math.nan
    assert parse_options(request, "openai") == {}


def test_huge_options_are_refused():
    request = agent_service_pb2.StreamRequest(prompt="x")
    request.provider_options["openai"].update({"a": "x" * 300_000})
    with pytest.raises(HeadwaterError, match=r"provider_options\.openai: has more than 262144 bytes"):
        parse_options(request, "openai")


def test_a_request_that_is_wrong_everywhere_is_not_read_to_its_end():
    messages = [{"role": 2, "parts": [{}] * 10} for _ in range(900)]
    with pytest.raises(HeadwaterError) as caught:
        parse(messages=messages)
    assert 100 < len(caught.value.violations) < 200
