"""Responses: the request, and the finer points of reading the reply."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headwater_server.domain.chunks import Delta, Finish, FinishReason, ToolCallDelta
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.messages import (
    Opaque,
    ProviderData,
    ReasoningEffort,
    ResponseFormat,
    ResponseFormatType,
    Tool,
    ToolCall,
    ToolChoice,
    ToolChoiceMode,
)
from headwater_server.providers.openai.responses import OpenAIResponsesWire
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

WIRE = OpenAIResponsesWire(genuine=False)
OPENAI = OpenAIResponsesWire(genuine=True)


# The request.


def test_the_least_request() -> None:
    call = WIRE.call(ask(user("Hi")))
    assert call.path == "/responses"
    assert call.body == {
        "model": "a-model",
        "input": [{"type": "message", "role": "user", "content": "Hi"}],
        "stream": True,
    }


def test_system_messages_are_instructions() -> None:
    body = WIRE.call(ask(system("One."), system("Two."), user("Hi"))).body
    assert body["instructions"] == "One.\n\nTwo."
    assert body["input"] == [{"type": "message", "role": "user", "content": "Hi"}]


def test_openai_itself_is_asked_not_to_pad_its_events() -> None:
    assert OPENAI.call(ask()).body["stream_options"] == {"include_obfuscation": False}


def test_sampling_parameters_have_their_own_names() -> None:
    body = WIRE.call(ask(sampling={"temperature": 0.0, "top_p": 0.5, "max_tokens": 9})).body
    assert (body["temperature"], body["top_p"], body["max_output_tokens"]) == (0.0, 0.5, 9)


@pytest.mark.parametrize("name", ["stop", "seed", "frequency_penalty", "presence_penalty"])
def test_a_parameter_that_responses_does_not_have_is_refused_by_name(name: str) -> None:
    assert name not in WIRE.supported_params("gpt-4o")
    with pytest.raises(HeadwaterError) as caught:
        WIRE.call(ask(sampling={name: 1}))
    assert [violation.field for violation in caught.value.violations] == [name]


def test_which_parameters_a_model_takes() -> None:
    sampling = {"max_tokens", "temperature", "top_p", "parallel_tool_calls", "logprobs"}
    assert OPENAI.supported_params("gpt-6-sol") == {"max_tokens", "parallel_tool_calls", "reasoning_effort"}
    assert OPENAI.supported_params("gpt-4.1") == sampling
    assert WIRE.supported_params("gpt-6-sol") == sampling


def test_an_effort_is_a_field_of_reasoning() -> None:
    assert OPENAI.efforts("gpt-6-sol") == frozenset(ReasoningEffort)
    assert OPENAI.efforts("gpt-4.1") == WIRE.efforts("gpt-6-sol") == frozenset()
    request = ask(model="gpt-6-sol", sampling={"reasoning_effort": "low"})
    assert OPENAI.call(request).body["reasoning"] == {"effort": "low"}


def test_log_probabilities_are_included() -> None:
    call = WIRE.call(ask(sampling={"logprobs": 3}))
    assert (call.body["include"], call.body["top_logprobs"]) == (["message.output_text.logprobs"], 3)
    assert call.logprobs
    assert not WIRE.call(ask()).logprobs


def test_log_probabilities_and_reasoning_are_included_together() -> None:
    door = OpenAIResponsesWire(genuine=False, hosts_openai=True)
    sent = door.call(ask(model="gpt-5", tools=(BARE_TOOL,), sampling={"logprobs": 0})).body
    assert sent["include"] == ["message.output_text.logprobs", "reasoning.encrypted_content"]


def test_whether_several_calls_may_come_at_once() -> None:
    body = WIRE.call(ask(tools=(BARE_TOOL,), sampling={"parallel_tool_calls": False})).body
    assert body["parallel_tool_calls"] is False


def test_the_end_user_is_named_for_openai_alone() -> None:
    assert OPENAI.call(ask(user="u-1")).body["safety_identifier"] == "u-1"
    assert "safety_identifier" not in WIRE.call(ask(user="u-1")).body


def test_a_reasoning_model_with_tools_sends_its_reasoning_to_us_and_keeps_none() -> None:
    body = OPENAI.call(ask(model="gpt-6-sol", tools=(BARE_TOOL,))).body
    assert (body["include"], body["store"]) == (["reasoning.encrypted_content"], False)


@pytest.mark.parametrize(
    ("wire", "fields"),
    [
        (OPENAI, {"model": "gpt-6-sol"}),
        (OPENAI, {"model": "gpt-4.1", "tools": (BARE_TOOL,)}),
        (WIRE, {"model": "gpt-6-sol", "tools": (BARE_TOOL,)}),
    ],
    ids=["no tools", "no reasoning", "another server"],
)
def test_no_other_request_asks_for_reasoning_to_hand_back(wire: OpenAIResponsesWire, fields: dict[str, Any]) -> None:
    assert wire.call(ask(**fields)).body.keys().isdisjoint({"include", "store"})


REASONING = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
KEPT = Opaque(ProviderData("openai", "a1", json.dumps(REASONING)))


def test_reasoning_is_handed_back_before_the_calls_that_came_of_it() -> None:
    said = assistant(KEPT, "Checking.", ToolCall("c1", "now", "{}"))
    body = OPENAI.call(ask(user("Hi"), said, model="gpt-6-sol", tools=(BARE_TOOL,))).body
    assert body["input"][1:] == [
        REASONING,
        {"type": "message", "role": "assistant", "content": "Checking."},
        {"type": "function_call", "call_id": "c1", "name": "now", "arguments": "{}"},
    ]


def test_a_model_that_does_not_reason_gets_no_reasoning_back() -> None:
    body = OPENAI.call(ask(user("Hi"), assistant(KEPT, "Yes?"), model="gpt-4.1")).body
    assert body["input"][1:] == [{"type": "message", "role": "assistant", "content": "Yes?"}]


@pytest.mark.parametrize("text", ["{", "[]", "1", '{"a": NaN}', "[" * 100_000, '{"a": "\\ud800"}'])
def test_data_that_was_changed_is_refused_by_name(text: str) -> None:
    changed = Opaque(ProviderData("openai", "a1", text))
    with pytest.raises(HeadwaterError) as caught:
        OPENAI.call(ask(user("Hi"), assistant("Yes?", changed), model="gpt-6-sol"))
    assert [v.field for v in caught.value.violations] == ["messages[1].parts[1].provider_data.data_json"]


def test_a_tool_round() -> None:
    assert WIRE.call(ask(*TOOL_ROUND)).body["input"] == [
        {"type": "message", "role": "user", "content": "Weather in Lima and Oslo?"},
        {"type": "message", "role": "assistant", "content": "Checking."},
        {
            "type": "function_call",
            "call_id": "call_1",
            "name": "get_weather",
            "arguments": '{"city":"Lima","n":9007199254740993}',
        },
        {"type": "function_call", "call_id": "call_2", "name": "get_weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "18 °C"},
        {"type": "function_call_output", "call_id": "call_2", "output": "no city"},
        {"type": "message", "role": "user", "content": "And tomorrow?"},
    ]


def test_images_go_as_data_or_by_url() -> None:
    (message,) = WIRE.call(ask(user("Look:", PIXEL, PICTURE_URL))).body["input"]
    assert message["content"] == [
        {"type": "input_text", "text": "Look:"},
        {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL_BASE64}"},
        {"type": "input_image", "image_url": "https://example.org/a.png"},
    ]


def test_tools_and_their_choice() -> None:
    strict = Tool("f", "", {"type": "object"}, strict=True)
    choice = ToolChoice(ToolChoiceMode.REQUIRED, "now")
    body = WIRE.call(ask(tools=(WEATHER, BARE_TOOL, strict), tool_choice=choice)).body
    assert body["tools"] == [
        {
            "type": "function",
            "name": "get_weather",
            "description": "Weather of a city",
            "parameters": WEATHER.parameters,
        },
        {"type": "function", "name": "now", "parameters": {"type": "object", "properties": {}}},
        {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True},
    ]
    assert body["tool_choice"] == {"type": "function", "name": "now"}


@pytest.mark.parametrize(
    ("form", "sent"),
    [
        (ResponseFormat(ResponseFormatType.JSON_OBJECT), {"type": "json_object"}),
        (
            ResponseFormat(ResponseFormatType.JSON_SCHEMA, {"type": "object"}, "n", strict=False),
            {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": False},
        ),
    ],
)
def test_response_format(form: ResponseFormat, sent: Any) -> None:
    assert WIRE.call(ask(response_format=form)).body["text"] == {"format": sent}


def test_options_are_merged_into_our_objects() -> None:
    form = ResponseFormat(ResponseFormatType.JSON_OBJECT)
    options = {"api": "responses", "text": {"verbosity": "low"}, "reasoning": {"effort": "high"}}
    body = WIRE.call(ask(response_format=form, provider_options=options)).body
    assert body["text"] == {"format": {"type": "json_object"}, "verbosity": "low"}
    assert body["reasoning"] == {"effort": "high"}
    assert "api" not in body


# The reply.


def event(type: str, *, named: bool = True, **fields: Any) -> bytes:
    name = f"event: {type}\n" if named else ""
    return f"{name}data: {json.dumps({'type': type, **fields})}\n\n".encode()


def read(*pieces: bytes) -> Outcome:
    return decode(WIRE.decoder("text/event-stream"), pieces)


def completed(**response: Any) -> bytes:
    return event("response.completed", response={"status": "completed", **response})


def text(delta: str, **place: Any) -> bytes:
    return event("response.output_text.delta", delta=delta, **place)


def test_events_are_known_by_their_type_where_a_proxy_lost_their_name() -> None:
    outcome = read(event("response.output_text.delta", named=False, delta="a"), b"data: [DONE]\n\n")
    assert outcome.events[0] == Delta(content="a", event_type="response.output_text.delta")
    assert outcome.error is None


def test_a_nameless_error_is_an_error() -> None:
    outcome = read(b'data: {"error": {"message": "m", "code": 500}}\n\n')
    assert outcome.error is not None
    assert outcome.error.message == "m"


def test_unknown_events_are_skipped_unread() -> None:
    outcome = read(b"event: response.future\ndata: nonsense\n\n", event("response.x", delta={"a": 1}), completed())
    assert [type(event) for event in outcome.events] == [Finish]


def test_parts_of_a_summary_and_the_text_are_blocks_of_their_own() -> None:
    name = "response.reasoning_summary_text.delta"
    outcome = read(
        event(name, item_id="r", output_index=0, summary_index=0, delta="a"),
        event(name, item_id="r", output_index=0, summary_index=1, delta="b"),
        event(name, item_id="r", output_index=0, summary_index=1, delta="c"),
        text("d", item_id="m", output_index=1, content_index=0),
        text("e", item_id="m", output_index=1, content_index=1),
    )
    assert [(delta.thinking or delta.content, delta.block) for delta in outcome.deltas] == [
        ("a", 0),
        ("b", 1),
        ("c", 1),
        ("d", 2),
        ("e", 3),
    ]


def test_reasoning_text_of_open_models_is_thinking() -> None:
    assert read(event("response.reasoning_text.delta", item_id="r", delta="t")).thinking == "t"


def test_a_refusal_has_its_own_words_and_reason() -> None:
    outcome = read(event("response.refusal.delta", item_id="m", delta="No."), completed())
    assert outcome.refusal == "No."
    assert outcome.finish is not None
    assert (outcome.finish.reason, outcome.finish.provider_reason) == (FinishReason.REFUSAL, "completed")


def function_call(**fields: Any) -> dict[str, Any]:
    return {"type": "function_call", "call_id": "call_1", "name": "f", **fields}


def test_calls_are_known_by_item_id_where_there_is_no_output_index() -> None:
    outcome = read(
        event("response.output_item.added", item=function_call(id="fc_1", arguments="")),
        event("response.output_item.added", item=function_call(id="fc_2", call_id="call_2", arguments="")),
        event("response.function_call_arguments.delta", item_id="fc_1", delta="[1]"),
        event("response.output_item.done", item=function_call(id="fc_1", arguments="[1]")),
    )
    assert outcome.tool_call_pieces == [
        ToolCallDelta(0, "call_1", "f"),
        ToolCallDelta(1, "call_2", "f"),
        ToolCallDelta(0, arguments="[1]"),
    ]


def test_arguments_that_come_only_when_the_item_is_done_count() -> None:
    item = function_call(id="fc_1", arguments='{"a":1}')
    outcome = read(
        event("response.output_item.added", output_index=0, item=function_call(id="fc_1")),
        event("response.output_item.done", output_index=0, item=item),
        event("response.output_item.done", output_index=1, item=item | {"call_id": "call_2"}),
    )
    assert outcome.tool_call_pieces == [
        ToolCallDelta(0, "call_1", "f"),
        ToolCallDelta(0, arguments='{"a":1}'),
        ToolCallDelta(1, "call_2", "f", '{"a":1}'),
    ]


def test_the_whole_reasoning_is_kept_for_the_provider_once_it_is_encrypted() -> None:
    done = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
    outcome = read(
        event("response.output_item.added", output_index=0, item=done | {"encrypted_content": "gA"}),
        event("response.output_item.done", output_index=0, item=done | {"status": "completed"}),
        event("response.output_item.done", output_index=1, item=function_call(id="fc_1", arguments="{}")),
    )
    kept, call = outcome.deltas
    assert json.loads(kept.provider_data or "") == done
    assert not kept.says_something()
    assert call.tool_calls


@pytest.mark.parametrize("content", [None, "", "x" * 1_100_000])
def test_reasoning_that_cannot_be_handed_back_is_not_kept(content: str | None) -> None:
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": content}
    assert read(event("response.output_item.done", output_index=0, item=item)).events == []


def test_half_of_a_surrogate_pair_in_reasoning_is_replaced() -> None:
    item = {"type": "reasoning", "id": "\ud83d", "encrypted_content": "gAAA"}
    [kept] = read(event("response.output_item.done", output_index=0, item=item)).deltas
    assert json.loads(kept.provider_data or "")["id"] == "\ufffd"


def test_items_of_other_types_are_no_calls() -> None:
    item = {"type": "tool_search_call", "id": "x", "call_id": "c", "arguments": {"paths": []}}
    assert read(event("response.output_item.added", output_index=0, item=item)).events == []


@pytest.mark.parametrize(
    ("reason", "ours"),
    [
        ("max_output_tokens", FinishReason.LENGTH),
        ("content_filter", FinishReason.CONTENT_FILTER),
        ("steered", FinishReason.OTHER),
    ],
)
def test_an_incomplete_response_says_why(reason: str, ours: FinishReason) -> None:
    response = {"status": "incomplete", "incomplete_details": {"reason": reason}}
    finish = read(event("response.incomplete", response=response)).finish
    assert finish == Finish(ours, reason, event_type="response.incomplete")


def test_an_error_event_may_be_flat() -> None:
    outcome = read(event("error", code="rate_limit_exceeded", message="m", param=None))
    assert outcome.error is not None
    assert (outcome.error.reason, outcome.error.message) == (Reason.PROVIDER_RATE_LIMITED, "m")


def test_without_its_last_event_a_response_has_no_finish() -> None:
    assert read(text("a", item_id="m"), event("response.output_text.done", text="a")).finish is None


def test_one_json_text_is_the_whole_response() -> None:
    message = {"type": "message", "content": [{"type": "output_text", "text": "a"}]}
    response = {"object": "response", "status": "completed", "output": [message]}
    outcome = read(json.dumps(response).encode())
    assert outcome.text == "a"
    assert outcome.finish == Finish(FinishReason.STOP, "completed", event_type="response.completed")
