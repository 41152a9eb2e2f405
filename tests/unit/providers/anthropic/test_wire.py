"""Messages: the request, and the finer points of reading the reply."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headwater_server.domain.chunks import Delta, Finish, FinishReason, ToolCallDelta, Usage
from headwater_server.domain.errors import HeadwaterError
from headwater_server.domain.messages import (
    Opaque,
    ProviderData,
    ResponseFormat,
    ResponseFormatType,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolChoiceMode,
)
from headwater_server.providers.anthropic.wire import AnthropicWire
from headwater_server.providers.base import ModelInfo
from headwater_server.providers.http.model_list import parse_models
from tests.support.upstream.decoding import Outcome, decode
from tests.unit.providers.conversations import (
    BARE_TOOL,
    PICTURE_URL,
    PIXEL,
    PIXEL_BASE64,
    TOOL_ROUND,
    WEATHER,
    ask,
    assistant,
    system,
    user,
)

WIRE = AnthropicWire()


# The request.


def test_the_least_request() -> None:
    call = WIRE.call(ask(user("Hi")))
    assert call.path == "/v1/messages"
    assert call.headers == {"anthropic-version": "2026-10-21"}
    assert call.body == {
        "model": "a-model",
        "max_tokens": 8192,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
        "stream": True,
    }


def test_max_tokens_is_the_callers_then_the_wires() -> None:
    assert AnthropicWire(100).call(ask()).body["max_tokens"] == 100
    assert AnthropicWire(100).call(ask(sampling={"max_tokens": 5})).body["max_tokens"] == 5


def test_system_messages_stand_apart() -> None:
    body = WIRE.call(ask(system("One."), system("Two."), user("Hi"))).body
    assert body["system"] == "One.\n\nTwo."
    assert [message["role"] for message in body["messages"]] == ["user"]


def test_stop_has_another_name() -> None:
    assert WIRE.call(ask(sampling={"stop": ["a"]})).body["stop_sequences"] == ["a"]


@pytest.mark.parametrize("name", ["temperature", "top_p"])
def test_sampling_needs_the_older_version(name: str) -> None:
    call = WIRE.call(ask(sampling={name: 0.5}))
    assert call.body[name] == 0.5
    assert call.headers == {"anthropic-version": "2023-06-01"}


def test_sampling_by_option_needs_the_older_version_too() -> None:
    assert WIRE.call(ask(provider_options={"top_k": 5})).headers == {"anthropic-version": "2023-06-01"}


def test_which_parameters_a_model_takes() -> None:
    always = {"max_tokens", "stop", "parallel_tool_calls"}
    assert WIRE.supported_params("claude-sonnet-4-6") == always | {"temperature", "top_p", "reasoning_effort"}
    assert WIRE.supported_params("claude-opus-5-5") == always | {"reasoning_effort"}
    assert WIRE.supported_params("smollm2") == always | {"temperature", "top_p"}


@pytest.mark.parametrize(
    ("model", "effort", "fields"),
    [
        ("claude-opus-4-8", "high", {"output_config": {"effort": "high"}}),
        ("claude-opus-4-8", "minimal", {"output_config": {"effort": "low"}}),
        ("claude-opus-4-8", "none", {"thinking": {"type": "disabled"}}),
        ("claude-opus-4-6", "max", {"output_config": {"effort": "max"}, "thinking": {"type": "adaptive"}}),
        ("claude-sonnet-4-5", "none", {"thinking": {"type": "disabled"}}),
    ],
)
def test_an_effort_is_asked_in_anthropics_words(model: str, effort: str, fields: dict[str, Any]) -> None:
    assert effort in WIRE.efforts(model)
    plain = WIRE.call(ask(model=model)).body
    assert WIRE.call(ask(model=model, sampling={"reasoning_effort": effort})).body == plain | fields


def test_an_effort_stands_beside_the_form_of_the_reply() -> None:
    form = ResponseFormat(ResponseFormatType.JSON_SCHEMA, {"type": "object"})
    request = ask(model="claude-opus-5", sampling={"reasoning_effort": "low"}, response_format=form)
    schema = {"type": "json_schema", "schema": {"type": "object"}}
    assert WIRE.call(request).body["output_config"] == {"effort": "low", "format": schema}


@pytest.mark.parametrize(
    ("parallel", "choice", "sent"),
    [
        (False, None, {"type": "auto", "disable_parallel_tool_use": True}),
        (False, ToolChoice(ToolChoiceMode.REQUIRED), {"type": "any", "disable_parallel_tool_use": True}),
        (False, ToolChoice(ToolChoiceMode.NONE), {"type": "none"}),
        (True, ToolChoice(ToolChoiceMode.AUTO), {"type": "auto"}),
        (True, None, None),
    ],
)
def test_several_calls_at_once_are_forbidden_with_the_choice(parallel: bool, choice: Any, sent: Any) -> None:
    request = ask(tools=(BARE_TOOL,), tool_choice=choice, sampling={"parallel_tool_calls": parallel})
    assert WIRE.call(request).body.get("tool_choice") == sent


def test_the_end_user_is_named_for_anthropic() -> None:
    assert WIRE.call(ask(user="u-1")).body["metadata"] == {"user_id": "u-1"}


def test_data_of_the_provider_alone_is_no_block() -> None:
    data = ProviderData("anthropic", "a1", "{}")
    assert WIRE.call(ask(user("Hi"), assistant(Opaque(data), "Yes?"), user("x"))).body["messages"][1] == {
        "role": "assistant",
        "content": [{"type": "text", "text": "Yes?"}],
    }


def test_a_parameter_that_anthropic_does_not_have_is_refused_by_name() -> None:
    with pytest.raises(HeadwaterError) as caught:
        WIRE.call(ask(sampling={"seed": 1}))
    assert [violation.field for violation in caught.value.violations] == ["seed"]


def test_a_tool_round() -> None:
    assert WIRE.call(ask(*TOOL_ROUND)).body["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "Weather in Lima and Oslo?"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Two calls.", "signature": "sig-1"},
                {"type": "redacted_thinking", "data": "secret-1"},
                {"type": "text", "text": "Checking."},
                {
                    "type": "tool_use",
                    "id": "call_1",
                    "name": "get_weather",
                    "input": {"city": "Lima", "n": 9007199254740993},
                },
                {"type": "tool_use", "id": "call_2", "name": "get_weather", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "call_1", "content": "18 °C"},
                {"type": "tool_result", "tool_use_id": "call_2", "content": "no city", "is_error": True},
                {"type": "text", "text": "And tomorrow?"},
            ],
        },
    ]


def test_messages_of_one_role_are_merged_and_empty_ones_left_out() -> None:
    turns = (user("a"), user("b"), assistant("", Thinking("unsigned", "")), user("c"), assistant("d"))
    assert WIRE.call(ask(*turns)).body["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": text} for text in "abc"]},
        {"role": "assistant", "content": [{"type": "text", "text": "d"}]},
    ]


@pytest.mark.parametrize("arguments", ["nonsense", "[]", "NaN", "[" * 100_000])
def test_arguments_that_are_no_object_are_refused_by_name(arguments: str) -> None:
    with pytest.raises(HeadwaterError) as caught:
        WIRE.call(ask(user("a"), assistant("b", ToolCall("c", "f", arguments))))
    assert [violation.field for violation in caught.value.violations] == [
        "messages[1].parts[1].tool_call.arguments_json"
    ]


def test_images_go_as_data_or_by_url() -> None:
    (message,) = WIRE.call(ask(user(PIXEL, PICTURE_URL))).body["messages"]
    assert [block["source"] for block in message["content"]] == [
        {"type": "base64", "media_type": "image/png", "data": PIXEL_BASE64},
        {"type": "url", "url": "https://example.org/a.png"},
    ]


def test_tools() -> None:
    strict = Tool("f", "", {"type": "object"}, strict=True)
    assert WIRE.call(ask(tools=(WEATHER, BARE_TOOL, strict))).body["tools"] == [
        {"name": "get_weather", "description": "Weather of a city", "input_schema": WEATHER.parameters},
        {"name": "now", "input_schema": {"type": "object", "properties": {}}},
        {"name": "f", "input_schema": {"type": "object"}, "strict": True},
    ]


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        (ToolChoice(ToolChoiceMode.AUTO), {"type": "auto"}),
        (ToolChoice(ToolChoiceMode.NONE), {"type": "none"}),
        (ToolChoice(ToolChoiceMode.REQUIRED), {"type": "any"}),
        (ToolChoice(ToolChoiceMode.REQUIRED, "now"), {"type": "tool", "name": "now"}),
    ],
)
def test_tool_choice(choice: ToolChoice, sent: Any) -> None:
    assert WIRE.call(ask(tools=(BARE_TOOL,), tool_choice=choice)).body["tool_choice"] == sent


def test_a_schema_is_part_of_the_output_config_and_options_are_merged_into_it() -> None:
    form = ResponseFormat(ResponseFormatType.JSON_SCHEMA, {"type": "object"})
    body = WIRE.call(ask(response_format=form, provider_options={"output_config": {"effort": "low"}})).body
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": {"type": "object"}}, "effort": "low"}


def test_a_json_object_without_a_schema_is_refused() -> None:
    with pytest.raises(HeadwaterError) as caught:
        WIRE.call(ask(response_format=ResponseFormat(ResponseFormatType.JSON_OBJECT)))
    assert [violation.field for violation in caught.value.violations] == ["response_format.type"]


# The reply.


def event(type: str, **fields: Any) -> bytes:
    return f"event: {type}\ndata: {json.dumps({'type': type, **fields})}\n\n".encode()


def start(index: int, **block: Any) -> bytes:
    return event("content_block_start", index=index, content_block=block)


def delta(index: int, **fields: Any) -> bytes:
    return event("content_block_delta", index=index, delta=fields)


def end(reason: str | None = "end_turn", usage: dict[str, Any] | None = None, **fields: Any) -> bytes:
    last = event("message_delta", delta={"stop_reason": reason, **fields}, usage=usage)
    return last + event("message_stop")


def read(*pieces: bytes) -> Outcome:
    return decode(WIRE.decoder("text/event-stream"), pieces)


def test_deltas_carry_their_block_and_the_type_of_their_event() -> None:
    outcome = read(
        start(0, type="thinking", thinking="", signature=""),
        delta(0, type="thinking_delta", thinking="t"),
        delta(0, type="signature_delta", signature="s"),
        start(1, type="redacted_thinking", data="d"),
        start(2, type="text", text=""),
        delta(2, type="text_delta", text="a"),
        end(),
    )
    kind = "content_block_delta"
    assert outcome.events == [
        Delta(thinking="t", event_type=kind, block=0),
        Delta(thinking_signature="s", event_type=kind, block=0),
        Delta(redacted_thinking="d", event_type="content_block_start", block=1),
        Delta(content="a", event_type=kind, block=2),
        Finish(FinishReason.STOP, "end_turn", event_type="message_stop"),
    ]


def test_text_in_the_start_of_a_block_is_not_lost() -> None:
    assert read(start(0, type="text", text="a"), delta(0, type="text_delta", text="b")).text == "ab"


def test_tools_that_anthropic_runs_are_no_calls() -> None:
    outcome = read(
        start(0, type="server_tool_use", id="s", name="web_search", input={}),
        delta(0, type="input_json_delta", partial_json='{"q":1}'),
        start(1, type="tool_use", id="t", name="f", input={}),
        delta(1, type="input_json_delta", partial_json="{}"),
        end("tool_use"),
    )
    assert outcome.tool_call_pieces == [ToolCallDelta(0, "t", "f"), ToolCallDelta(0, arguments="{}")]


def test_a_call_without_input_ends_as_an_empty_object() -> None:
    outcome = read(start(0, type="tool_use", id="t", name="f"), delta(0, type="input_json_delta", partial_json=""))
    assert outcome.tool_call_pieces == [ToolCallDelta(0, "t", "f")]
    outcome = read(start(0, type="tool_use", id="t", name="f"), end("tool_use"))
    assert outcome.tool_call_pieces == [ToolCallDelta(0, "t", "f"), ToolCallDelta(0, arguments="{}")]


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("end_turn", FinishReason.STOP),
        ("stop_sequence", FinishReason.STOP),
        ("max_tokens", FinishReason.LENGTH),
        ("model_context_window_exceeded", FinishReason.LENGTH),
        ("tool_use", FinishReason.TOOL_CALLS),
        ("pause_turn", FinishReason.PAUSE),
        ("refusal", FinishReason.REFUSAL),
        ("never heard of", FinishReason.OTHER),
        ("MAX_TOKENS", FinishReason.LENGTH),
        ("length", FinishReason.LENGTH),
    ],
)
def test_stop_reasons(word: str, reason: FinishReason) -> None:
    assert read(end(word)).events == [Finish(reason, word, event_type="message_stop")]


def test_the_end_without_a_reason_ends_a_reply_that_said_something() -> None:
    said = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "a"})
    assert read(said, end(None)).finish == Finish(FinishReason.OTHER, "")
    assert read(end(None)).events == []


def test_the_stop_sequence_that_was_met_is_named() -> None:
    finish = read(end("stop_sequence", stop_sequence="###")).finish
    assert finish is not None
    assert finish.stop_sequence == "###"


def test_the_details_of_a_refusal_are_handed_on() -> None:
    finish = read(end("refusal", stop_details={"type": "refusal", "category": "cyber", "explanation": None})).finish
    assert finish is not None
    assert finish.metadata == {"stop_details": {"category": "cyber"}}


def test_later_counts_replace_earlier_ones_and_the_total_is_all_input_and_output() -> None:
    first = {"input_tokens": 10, "output_tokens": 1, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 5}
    last = {"output_tokens": 20, "output_tokens_details": {"thinking_tokens": 0}}
    finish = read(event("message_start", message={"usage": first}), end(usage=last)).finish
    assert finish is not None
    assert finish.usage == Usage(
        input_tokens=10,
        output_tokens=20,
        total_tokens=135,
        cached_input_tokens=100,
        cache_write_tokens=5,
        reasoning_tokens=0,
    )


def test_a_stop_reason_and_the_proper_end_of_the_body_are_an_end() -> None:
    reason = event("message_delta", delta={"stop_reason": "end_turn"}, usage=None)
    assert read(reason).finish == Finish(FinishReason.STOP, "end_turn", event_type="message_stop")
    assert read(event("message_delta", delta={"stop_reason": None}, usage=None)).finish is None


def test_an_error_event_carries_its_request_id() -> None:
    outcome = read(event("error", error={"type": "overloaded_error", "message": "Overloaded"}, request_id="req_1"))
    assert outcome.error is not None
    assert outcome.error.metadata == {"provider_code": "overloaded_error", "provider_request_id": "req_1"}


def test_one_json_text_is_the_whole_message() -> None:
    blocks = [{"type": "text", "text": "a"}, {"type": "tool_use", "id": "t", "name": "f", "input": {"b": 1}}]
    outcome = read(json.dumps({"type": "message", "content": blocks, "stop_reason": "tool_use"}).encode())
    assert (outcome.text, outcome.tool_calls) == ("a", [ToolCall("t", "f", '{"b": 1}')])
    assert outcome.finish is not None
    assert outcome.finish.reason is FinishReason.TOOL_CALLS


def test_the_list_of_models() -> None:
    body = (
        rb'{"data": [{"id": "claude-x", "type": "model", "display_name": "X"}, {"id": "y\ud83d"}], "has_more": false}'
    )
    assert parse_models(body) == [ModelInfo("claude-x"), ModelInfo("y\ufffd")]
