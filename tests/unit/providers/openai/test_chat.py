"""Chat Completions: the request, and the finer points of reading the reply."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headwater_server.domain.chunks import Delta, Finish, FinishReason, ProviderEvent, ToolCallDelta, Usage
from headwater_server.domain.errors import Reason
from headwater_server.domain.messages import (
    SAMPLING_PARAMS,
    ChatRequest,
    ReasoningEffort,
    ResponseFormat,
    ResponseFormatType,
    Tool,
    ToolChoice,
    ToolChoiceMode,
)
from headwater_server.providers.openai.chat import OpenAIChatWire
from headwater_server.providers.openai.profiles import PROFILES, Profile
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

WIRE = OpenAIChatWire(genuine=False, profile=Profile())
OPENAI = OpenAIChatWire(genuine=True)


def body(request: ChatRequest, wire: OpenAIChatWire = WIRE) -> dict[str, Any]:
    return wire.call(request).body


# The request.


def test_the_least_request() -> None:
    call = WIRE.call(ask(system("Be brief."), user("Hi")))
    assert call.path == "/chat/completions"
    assert call.headers == {}
    assert call.body == {
        "model": "a-model",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_openai_itself_is_asked_not_to_pad_its_events() -> None:
    assert body(ask(), OPENAI)["stream_options"] == {"include_usage": True, "include_obfuscation": False}


def test_sampling_parameters_are_sent_as_they_were_set() -> None:
    sampling = {
        "temperature": 0.0,
        "max_tokens": 5,
        "top_p": 1.0,
        "frequency_penalty": -1.0,
        "presence_penalty": 0.5,
        "stop": ["a", "b"],
        "seed": 7,
        "parallel_tool_calls": False,
    }
    assert set(sampling) == set(SAMPLING_PARAMS) - {"reasoning_effort", "logprobs"}
    sent = body(ask(sampling=sampling))
    assert {name: sent[name] for name in sampling} == sampling


def test_openai_itself_has_another_name_for_max_tokens() -> None:
    sent = body(ask(sampling={"max_tokens": 5}), OPENAI)
    assert sent["max_completion_tokens"] == 5
    assert "max_tokens" not in sent


def test_which_parameters_a_model_takes() -> None:
    all_but_effort = frozenset(SAMPLING_PARAMS) - {"reasoning_effort"}
    assert WIRE.supported_params("o3") == all_but_effort
    assert OPENAI.supported_params("gpt-4o") == all_but_effort
    assert OPENAI.supported_params("gpt-5") == {"max_tokens", "stop", "seed", "reasoning_effort", "parallel_tool_calls"}
    assert OPENAI.supported_params("o4-mini") == {"max_tokens", "seed", "reasoning_effort"}


def test_only_a_reasoning_model_of_openai_takes_an_effort() -> None:
    assert OPENAI.efforts("gpt-5") == frozenset(ReasoningEffort)
    assert OPENAI.efforts("gpt-4o") == WIRE.efforts("gpt-5") == frozenset()
    request = ask(model="gpt-5", sampling={"reasoning_effort": "minimal"})
    assert OPENAI.call(request).body["reasoning_effort"] == "minimal"


@pytest.mark.parametrize(("count", "sent"), [(0, {"logprobs": True}), (3, {"logprobs": True, "top_logprobs": 3})])
def test_log_probabilities_and_how_many_likely_tokens(count: int, sent: dict[str, Any]) -> None:
    call = WIRE.call(ask(sampling={"logprobs": count}))
    assert {name: call.body[name] for name in call.body if "logprobs" in name} == sent
    assert call.logprobs


@pytest.mark.parametrize(("count", "sent"), [(0, 1), (3, 3)])
def test_a_service_that_counts_likely_tokens_gets_their_number(count: int, sent: int) -> None:
    body = OpenAIChatWire(genuine=False, profile=PROFILES["together"]).call(ask(sampling={"logprobs": count})).body
    assert body["logprobs"] == sent
    assert "top_logprobs" not in body


def test_whether_log_probabilities_are_asked_for_is_seen_in_the_request_as_it_is_sent() -> None:
    assert not WIRE.call(ask()).logprobs
    assert WIRE.call(ask(provider_options={"logprobs": True})).logprobs


@pytest.mark.parametrize("parallel", [True, False])
def test_whether_several_calls_may_come_at_once(parallel: bool) -> None:
    request = ask(tools=(WEATHER,), sampling={"parallel_tool_calls": parallel})
    assert WIRE.call(request).body["parallel_tool_calls"] is parallel


def test_the_end_user_is_named_for_openai_alone() -> None:
    assert OPENAI.call(ask(user="u-1")).body["safety_identifier"] == "u-1"
    assert "safety_identifier" not in WIRE.call(ask(user="u-1")).body


def test_an_end_user_with_a_long_name_is_named_by_its_hash() -> None:
    sent = OPENAI.call(ask(user="u" * 65)).body["safety_identifier"]
    assert len(sent) == 64
    assert sent != OPENAI.call(ask(user="u" * 66)).body["safety_identifier"]


def test_a_tool_round() -> None:
    assert body(ask(*TOOL_ROUND))["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Weather in Lima and Oslo?"},
        {
            "role": "assistant",
            "content": "Checking.",
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "get_weather", "arguments": '{"city":"Lima","n":9007199254740993}'},
                },
                {"id": "call_2", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "18 °C"},
        {"role": "tool", "tool_call_id": "call_2", "content": "no city"},
        {"role": "user", "content": "And tomorrow?"},
    ]


def test_images_go_as_data_or_by_url() -> None:
    (message,) = body(ask(user("Look:", PIXEL, PICTURE_URL)))["messages"]
    assert message["content"] == [
        {"type": "text", "text": "Look:"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL_BASE64}"}},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
    ]


def test_tools() -> None:
    strict = Tool("f", "d", {"type": "object"}, strict=False)
    assert body(ask(tools=(WEATHER, BARE_TOOL, strict)))["tools"] == [
        {
            "type": "function",
            "function": {"name": "get_weather", "description": "Weather of a city", "parameters": WEATHER.parameters},
        },
        {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}},
        {
            "type": "function",
            "function": {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": False},
        },
    ]


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        (ToolChoice(ToolChoiceMode.AUTO), "auto"),
        (ToolChoice(ToolChoiceMode.NONE), "none"),
        (ToolChoice(ToolChoiceMode.REQUIRED), "required"),
        (ToolChoice(ToolChoiceMode.REQUIRED, "now"), {"type": "function", "function": {"name": "now"}}),
    ],
)
def test_tool_choice(choice: ToolChoice, sent: Any) -> None:
    assert body(ask(tools=(BARE_TOOL,), tool_choice=choice))["tool_choice"] == sent


@pytest.mark.parametrize(
    ("form", "sent"),
    [
        (ResponseFormat(ResponseFormatType.JSON_OBJECT), {"type": "json_object"}),
        (
            ResponseFormat(ResponseFormatType.JSON_SCHEMA, {"type": "object"}),
            {"type": "json_schema", "json_schema": {"name": "response", "schema": {"type": "object"}}},
        ),
        (
            ResponseFormat(ResponseFormatType.JSON_SCHEMA, {"b": 1, "a": 2}, "n", strict=True),
            {"type": "json_schema", "json_schema": {"name": "n", "schema": {"b": 1, "a": 2}, "strict": True}},
        ),
    ],
)
def test_response_format(form: ResponseFormat, sent: Any) -> None:
    got = body(ask(response_format=form))["response_format"]
    assert json.dumps(got) == json.dumps(sent)


def test_options_go_over_our_own_body_and_into_its_objects() -> None:
    sent = body(
        ask(
            sampling={"temperature": 0.5},
            provider_options={
                "api": "chat_completions",
                "temperature": 1,
                "reasoning_effort": "low",
                "stream_options": {"include_usage": False, "more": None},
            },
        )
    )
    assert sent["temperature"] == 1
    assert sent["reasoning_effort"] == "low"
    assert sent["stream_options"] == {"include_usage": False, "more": None}
    assert "api" not in sent


def test_an_assistant_turn_of_nothing_but_thinking_is_left_out() -> None:
    thought = TOOL_ROUND[2].parts[0]
    assert body(ask(user("a"), assistant(thought), user("b")), OPENAI)["messages"] == [
        {"role": "user", "content": "a"},
        {"role": "user", "content": "b"},
    ]


# The reply.


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice], **more}).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


def read(*pieces: bytes, content_type: str = "text/event-stream") -> Outcome:
    return decode(WIRE.decoder(content_type), pieces)


def test_a_delta_that_says_nothing_is_no_event() -> None:
    outcome = read(
        chunk({"role": "assistant", "content": ""}), chunk({"content": None}), chunk(), b"data:\n\n", b": hi\n\n"
    )
    assert outcome.events == []
    assert outcome.error is None


def test_the_end_waits_for_the_usage_that_follows_it() -> None:
    decoder = WIRE.decoder("text/event-stream")
    events: list[ProviderEvent] = []
    decoder.feed(chunk({"content": "a"}, "stop"), events)
    decoder.feed(b'data: {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 0}}\n\n', events)
    assert events == [Delta(content="a")]
    decoder.feed(DONE, events)
    usage = Usage(input_tokens=1, output_tokens=0, total_tokens=1)
    assert events[1:] == [Finish(FinishReason.STOP, "stop", usage=usage)]


def test_a_proper_end_of_the_body_after_the_finish_reason_is_an_end() -> None:
    assert read(chunk({"content": "a"}, "length")).finish == Finish(FinishReason.LENGTH, "length")


def test_done_without_a_blank_line_is_an_end() -> None:
    assert read(chunk({"content": "a"}, "stop"), b"data: [DONE]").finish is not None


@pytest.mark.parametrize("last", [DONE, b"data: [DONE]\n", b'data: "[DONE]"\n\n', b"data:[done]\n\n"])
def test_a_reply_without_a_finish_reason_ends_with_the_end_mark(last: bytes) -> None:
    outcome = read(chunk({"content": "a"}), last)
    assert outcome.events == [Delta(content="a"), Finish(FinishReason.OTHER, "")]
    assert read(chunk({}), last).events == []


@pytest.mark.parametrize("last", [b"", b'data: {"choices": [{"finish_reason": "stop"'])
def test_without_a_finish_reason_and_an_end_mark_there_is_no_end(last: bytes) -> None:
    outcome = read(chunk({"content": "a"}), last)
    assert (outcome.text, outcome.finish, outcome.error) == ("a", None, None)


def test_what_follows_the_end_mark_is_ignored() -> None:
    outcome = read(chunk({"content": "a"}) + DONE + chunk({"content": "b"}, "stop") + DONE)
    assert outcome.text == "a"


def test_what_follows_the_end_is_ignored() -> None:
    outcome = read(chunk({"content": "a"}, "stop"), DONE, chunk({"content": "b"}), b"data: nonsense\n\n")
    assert outcome.text == "a"
    assert outcome.error is None


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("stop", FinishReason.STOP),
        ("length", FinishReason.LENGTH),
        ("tool_calls", FinishReason.TOOL_CALLS),
        ("content_filter", FinishReason.CONTENT_FILTER),
        ("never heard of", FinishReason.OTHER),
    ],
)
def test_finish_reasons(word: str, reason: FinishReason) -> None:
    assert read(chunk({}, word), DONE).events == [Finish(reason, word)]


def test_a_stop_after_words_of_a_refusal_is_a_refusal() -> None:
    outcome = read(chunk({"refusal": "No."}, "stop"), DONE)
    assert outcome.events == [Delta(refusal="No."), Finish(FinishReason.REFUSAL, "stop")]


def test_a_stop_after_tool_calls_is_tool_calls() -> None:
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}
    finish = read(chunk({"tool_calls": [call]}, "stop"), DONE).finish
    assert finish is not None
    assert (finish.reason, finish.provider_reason) == (FinishReason.TOOL_CALLS, "stop")


def test_thinking_that_is_sent_in_two_fields_is_read_once() -> None:
    assert read(chunk({"reasoning_content": "t", "reasoning": "t"})).thinking == "t"


def test_only_the_first_choice_is_read() -> None:
    second = {"choices": [{"index": 1, "delta": {"content": "no"}, "finish_reason": "length"}]}
    outcome = read(chunk({"content": "a"}), b"data: " + json.dumps(second).encode() + b"\n\n", chunk({}, "stop"), DONE)
    assert outcome.events == [Delta(content="a"), Finish(FinishReason.STOP, "stop")]


def tool_pieces(*calls: dict[str, Any]) -> list[ToolCallDelta]:
    return read(*(chunk({"tool_calls": [call]}) for call in calls)).tool_call_pieces


def test_ids_and_names_that_are_repeated_go_out_once() -> None:
    call = {"index": 0, "id": "c", "function": {"name": "f"}}
    assert tool_pieces(call, {**call, "function": {"name": "f", "arguments": "[1]"}}, call) == [
        ToolCallDelta(0, "c", "f"),
        ToolCallDelta(0, arguments="[1]"),
    ]


def test_calls_are_numbered_from_0_whatever_their_index() -> None:
    assert tool_pieces(
        {"index": 3, "id": "a"}, {"index": 1, "id": "b"}, {"index": 3, "function": {"arguments": "1"}}
    ) == [
        ToolCallDelta(0, "a"),
        ToolCallDelta(1, "b"),
        ToolCallDelta(0, arguments="1"),
    ]


def test_calls_that_all_have_index_0_are_told_apart_by_id() -> None:
    assert tool_pieces(
        {"index": 0, "id": "a"}, {"index": 0, "id": "b"}, {"index": 0, "function": {"arguments": "1"}}
    ) == [
        ToolCallDelta(0, "a"),
        ToolCallDelta(1, "b"),
        ToolCallDelta(1, arguments="1"),
    ]


def test_calls_without_index_go_by_id_or_by_name() -> None:
    assert tool_pieces(
        {"id": "a", "function": {"name": "f"}}, {"function": {"arguments": "1"}}, {"function": {"name": "g"}}
    ) == [ToolCallDelta(0, "a", "f"), ToolCallDelta(0, arguments="1"), ToolCallDelta(1, name="g")]


def test_a_call_without_arguments_ends_as_an_empty_object() -> None:
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}
    outcome = read(chunk({"tool_calls": [call]}), chunk({}, "tool_calls"), DONE)
    assert outcome.tool_call_pieces == [ToolCallDelta(0, "c", "f"), ToolCallDelta(0, arguments="{}")]


def test_a_call_that_was_cut_off_is_not_completed() -> None:
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}
    assert read(chunk({"tool_calls": [call]}), chunk({}, "length"), DONE).tool_call_pieces == [
        ToolCallDelta(0, "c", "f")
    ]


def test_halves_of_a_character_are_joined_also_in_arguments() -> None:
    def piece(text: str) -> bytes:
        return chunk({"tool_calls": [{"index": 0, "id": "c", "function": {"arguments": text}}]})

    assert "".join(p.arguments for p in read(piece('{"a":"\ud83d'), piece('\ude00"}')).tool_call_pieces) == '{"a":"😀"}'
    assert read(chunk({"content": "\ud83d"}), chunk({"content": "\ude00"})).events == [Delta(content="😀")]


def test_a_half_that_waits_at_the_end_comes_before_the_finish() -> None:
    assert read(chunk({"content": "\ud83d"}, "stop"), DONE).events == [
        Delta(content="\ufffd"),
        Finish(FinishReason.STOP, "stop"),
    ]


def test_counts_that_were_not_reported_are_absent_and_zero_is_zero() -> None:
    usage = {
        "completion_tokens": 0,
        "prompt_tokens_details": None,
        "completion_tokens_details": {"reasoning_tokens": 0},
    }
    finish = read(chunk({}, "stop", usage=usage), DONE).finish
    assert finish is not None
    assert finish.usage == Usage(output_tokens=0, reasoning_tokens=0)


def test_counts_that_make_no_sense_count_as_not_reported() -> None:
    finish = read(chunk({}, "stop", usage={"prompt_tokens": -1, "completion_tokens": 2**40}), DONE).finish
    assert finish is not None
    assert finish.usage == Usage()


def test_events_before_an_error_in_the_same_read_still_come() -> None:
    outcome = read(chunk({"content": "a"}) + b'data: {"error": {"message": "m", "code": "server_error"}}\n\n')
    assert outcome.text == "a"
    assert outcome.error is not None
    assert outcome.error.message == "m"


def test_a_flat_error_inside_a_stream_is_an_error() -> None:
    outcome = read(b'data: {"object": "error", "message": "m", "type": "BadRequestError", "code": 400}\n\n')
    assert outcome.error is not None
    assert (outcome.error.reason, outcome.error.message) == (Reason.PROVIDER_REJECTED_REQUEST, "m")


@pytest.mark.parametrize("data", [b"nonsense", b"1", b'"text"', b'{"choices": ['])
def test_what_is_no_chunk_is_an_error(data: bytes) -> None:
    outcome = read(b"data: " + data + b"\n\n")
    assert outcome.error is not None
    assert outcome.error.reason is Reason.PROVIDER_UNAVAILABLE
    assert "not a chat completion chunk" in outcome.error.message


def test_one_completion_instead_of_a_stream_is_read() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    answer = {"choices": [{"message": {"content": "a", "tool_calls": [call]}, "finish_reason": "tool_calls"}]}
    outcome = read(json.dumps(answer).encode(), content_type="application/json; charset=utf-8")
    assert outcome.events == [
        Delta(content="a", tool_calls=[ToolCallDelta(0, "c", "f", '{"a":1}')]),
        Finish(FinishReason.TOOL_CALLS, "tool_calls"),
    ]


def test_an_error_with_status_200_is_an_error() -> None:
    assert read(b'{"error": {"message": "m"}}', content_type="application/json").error is not None


@pytest.mark.parametrize("content_type", ["text/html; charset=utf-8", "application/x-ndjson", "image/png"])
def test_what_is_no_stream_is_an_error_that_names_its_type_and_its_words(content_type: str) -> None:
    error = read(b"<html><title>Sign in</title>", content_type=content_type).error
    assert error is not None
    assert error.reason is Reason.PROVIDER_UNAVAILABLE
    assert content_type.partition(";")[0] in error.message
    assert "not a stream (Sign in); check its base URL" in error.message
