"""Ollama's chat: the request, and the finer points of reading the reply."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headwater_server.domain.chunks import Delta, Finish, FinishReason, ToolCallDelta, Usage
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.messages import (
    SAMPLING_PARAMS,
    ReasoningEffort,
    ResponseFormat,
    ResponseFormatType,
    Tool,
    ToolCall,
    ToolChoice,
    ToolChoiceMode,
)
from headwater_server.providers.ollama.wire import OllamaWire, parse_ps, parse_show
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

WIRE = OllamaWire()


# The request.


def test_the_least_request() -> None:
    call = WIRE.call(ask(system("Be brief."), user("Hi")))
    assert call.path == "/api/chat"
    assert call.body == {
        "model": "a-model",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        "stream": True,
    }


def test_sampling_parameters_are_options_of_the_model() -> None:
    sampling = {
        "temperature": 0.0,
        "max_tokens": 5,
        "top_p": 1.0,
        "frequency_penalty": -1.0,
        "presence_penalty": 0.5,
        "stop": ("a",),
        "seed": 7,
    }
    assert WIRE.supported_params("any") == {*sampling, "reasoning_effort", "logprobs"}
    assert WIRE.supported_params("any") == set(SAMPLING_PARAMS) - {"parallel_tool_calls"}
    assert WIRE.call(ask(sampling=sampling)).body["options"] == {
        "temperature": 0.0,
        "num_predict": 5,
        "top_p": 1.0,
        "frequency_penalty": -1.0,
        "presence_penalty": 0.5,
        "stop": ["a"],
        "seed": 7,
    }


@pytest.mark.parametrize(("count", "sent"), [(0, {"logprobs": True}), (3, {"logprobs": True, "top_logprobs": 3})])
def test_log_probabilities_stand_beside_the_models_parameters(count: int, sent: dict[str, Any]) -> None:
    call = WIRE.call(ask(sampling={"logprobs": count}))
    assert {name: call.body[name] for name in call.body if "logprobs" in name} == sent
    assert "options" not in call.body
    assert call.logprobs
    assert not WIRE.call(ask()).logprobs


@pytest.mark.parametrize(
    ("effort", "think"),
    [("none", False), ("minimal", "low"), ("low", "low"), ("medium", "medium"), ("high", "high"), ("max", "max")],
)
def test_an_effort_is_ollamas_think(effort: str, think: bool | str) -> None:
    body = WIRE.call(ask(sampling={"reasoning_effort": effort})).body
    assert body["think"] == think
    assert "options" not in body


def test_an_effort_that_ollama_does_not_have() -> None:
    assert WIRE.efforts("any") == frozenset(ReasoningEffort) - {"xhigh"}


def test_provider_options_are_options_of_the_model_but_for_those_that_stand_beside() -> None:
    options = {"num_ctx": 8192, "temperature": 1, "think": False, "keep_alive": -1, "api": "chat", "truncate": True}
    body = WIRE.call(ask(sampling={"temperature": 0.5, "seed": 1}, provider_options=options)).body
    assert body["options"] == {"temperature": 1, "seed": 1, "num_ctx": 8192}
    assert (body["think"], body["keep_alive"], body["truncate"]) == (False, -1, True)
    assert "api" not in json.dumps(body)


def test_options_given_as_ollama_itself_nests_them_are_merged_too() -> None:
    body = WIRE.call(ask(sampling={"seed": 1}, provider_options={"options": {"num_ctx": 1}, "top_k": 2})).body
    assert body["options"] == {"seed": 1, "num_ctx": 1, "top_k": 2}


def test_a_tool_round() -> None:
    assert WIRE.call(ask(*TOOL_ROUND)).body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Weather in Lima and Oslo?"},
        {
            "role": "assistant",
            "content": "Checking.",
            "tool_calls": [
                {
                    "id": "call_1",
                    "function": {"name": "get_weather", "arguments": {"city": "Lima", "n": 9007199254740993}},
                },
                {"id": "call_2", "function": {"name": "get_weather", "arguments": {}}},
            ],
        },
        {"role": "tool", "tool_name": "get_weather", "content": "18 °C"},
        {"role": "tool", "tool_name": "get_weather", "content": "no city"},
        {"role": "user", "content": "And tomorrow?"},
    ]


def test_a_call_of_an_older_server_has_no_id_to_send() -> None:
    message = WIRE.call(ask(user("a"), assistant(ToolCall("", "f", '{"x":1}')))).body["messages"][1]
    assert message["tool_calls"] == [{"function": {"name": "f", "arguments": {"x": 1}}}]


def test_arguments_that_are_no_object_are_refused_by_name() -> None:
    with pytest.raises(HeadwaterError) as caught:
        WIRE.call(ask(user("a"), assistant(ToolCall("c", "f", "1"))))
    assert [violation.field for violation in caught.value.violations] == [
        "messages[1].parts[0].tool_call.arguments_json"
    ]


def test_images_stand_beside_the_text_in_base64() -> None:
    (message,) = WIRE.call(ask(user("Look: ", PIXEL, "well?"))).body["messages"]
    assert message == {"role": "user", "content": "Look: well?", "images": [PIXEL_BASE64]}


def test_an_image_by_url_is_refused_by_name() -> None:
    with pytest.raises(HeadwaterError) as caught:
        WIRE.call(ask(user("a"), assistant("b"), user("Look:", PICTURE_URL)))
    assert caught.value.reason is Reason.INVALID_REQUEST
    assert [violation.field for violation in caught.value.violations] == ["messages[2].parts[1].image.url"]


def test_tools() -> None:
    body = WIRE.call(ask(tools=(WEATHER, BARE_TOOL), tool_choice=ToolChoice(ToolChoiceMode.AUTO))).body
    assert body["tools"] == [
        {
            "type": "function",
            "function": {"name": "get_weather", "description": "Weather of a city", "parameters": WEATHER.parameters},
        },
        {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}},
    ]
    assert "tool_choice" not in body


@pytest.mark.parametrize("strict", [True, False])
def test_a_strict_tool_is_refused_by_name(strict: bool) -> None:
    with pytest.raises(HeadwaterError) as caught:
        WIRE.call(ask(tools=(BARE_TOOL, Tool("f", "", {}, strict=strict))))
    assert [violation.field for violation in caught.value.violations] == ["tools[1].function.strict"]


def test_no_tools_are_sent_where_none_may_be_called() -> None:
    assert "tools" not in WIRE.call(ask(tools=(BARE_TOOL,), tool_choice=ToolChoice(ToolChoiceMode.NONE))).body


def test_a_forced_call_is_refused_by_name() -> None:
    with pytest.raises(HeadwaterError) as caught:
        WIRE.call(ask(tools=(BARE_TOOL,), tool_choice=ToolChoice(ToolChoiceMode.REQUIRED, "now")))
    assert [violation.field for violation in caught.value.violations] == ["tool_choice.function"]


def test_response_formats() -> None:
    json_object = ResponseFormat(ResponseFormatType.JSON_OBJECT)
    schema = ResponseFormat(ResponseFormatType.JSON_SCHEMA, {"type": "object"})
    assert WIRE.call(ask(response_format=json_object)).body["format"] == "json"
    assert WIRE.call(ask(response_format=schema)).body["format"] == {"type": "object"}


# The reply.


def line(**fields: Any) -> bytes:
    return json.dumps({"model": "m", **fields}).encode() + b"\n"


def said(**message: Any) -> bytes:
    return line(message={"role": "assistant", "content": "", **message}, done=False)


def read(*pieces: bytes, content_type: str = "application/x-ndjson") -> Outcome:
    return decode(WIRE.decoder(content_type), pieces)


def test_a_stop_after_tool_calls_is_tool_calls_but_keeps_the_providers_word() -> None:
    call = {"id": "c", "function": {"index": 0, "name": "f", "arguments": {"b": 1, "a": "é"}}}
    outcome = read(said(tool_calls=[call]), line(done=True, done_reason="stop"))
    assert outcome.events == [
        Delta(tool_calls=[ToolCallDelta(0, "c", "f", '{"b":1,"a":"é"}')]),
        Finish(FinishReason.TOOL_CALLS, "stop"),
    ]


def test_every_call_is_a_call_of_its_own() -> None:
    call = {"function": {"name": "f", "arguments": {}}}
    assert read(said(tool_calls=[call, call]), said(tool_calls=[call])).tool_call_pieces == [
        ToolCallDelta(number, "", "f", "{}") for number in range(3)
    ]


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("stop", FinishReason.STOP),
        ("length", FinishReason.LENGTH),
        ("load", FinishReason.OTHER),
        ("unload", FinishReason.OTHER),
        (None, FinishReason.OTHER),
    ],
)
def test_done_reasons(word: str | None, reason: FinishReason) -> None:
    assert read(line(done=True, done_reason=word)).events == [Finish(reason, word or "")]


def test_text_on_the_last_line_is_not_lost() -> None:
    outcome = read(line(message={"content": "a"}, done=True, done_reason="stop"))
    assert outcome.events == [Delta(content="a"), Finish(FinishReason.STOP, "stop")]


def test_timings_keep_their_names_and_counts_that_are_left_out_are_absent() -> None:
    finish = read(line(done=True, done_reason="stop", total_duration=3, eval_duration=2, eval_count=5)).finish
    assert finish is not None
    assert finish.metadata == {"total_duration": 3, "eval_duration": 2}
    assert finish.usage == Usage(output_tokens=5)


def test_lines_after_the_last_are_ignored() -> None:
    outcome = read(line(done=True, done_reason="stop") + said(content="b") + b"nonsense\n", b"nonsense\n")
    assert outcome.text == ""
    assert outcome.error is None


def test_without_done_there_is_no_finish() -> None:
    outcome = read(said(content="a"))
    assert (outcome.finish, outcome.error) == (None, None)


def test_an_error_line_is_an_error_after_the_text_before_it() -> None:
    outcome = read(said(content="a") + line(error="out of memory"))
    assert outcome.text == "a"
    assert outcome.error is not None
    assert (outcome.error.reason, outcome.error.message) == (Reason.PROVIDER_UNAVAILABLE, "out of memory")


def test_a_surrogate_half_in_arguments_becomes_u_fffd() -> None:
    call = {"function": {"name": "f", "arguments": {"a": "\ud83d"}}}
    (piece,) = read(said(tool_calls=[call])).tool_call_pieces
    assert json.loads(piece.arguments) == {"a": "\ufffd"}


@pytest.mark.parametrize("content_type", ["text/html", "text/event-stream"])
def test_what_is_no_stream_is_an_error(content_type: str) -> None:
    error = decode(WIRE.decoder(content_type), [b"Ollama is running"]).error
    assert error is not None
    assert "not a stream (Ollama is running)" in error.message


@pytest.mark.parametrize(
    ("message", "cure"),
    [
        ("model 'nope:7b' not found", "`ollama pull nope:7b`"),
        ('model "me/nope" not found, try pulling it first', "`ollama pull me/nope`"),
        ("no such model", "`ollama pull NAME`"),
    ],
)
def test_a_model_that_is_not_there_has_a_cure(message: str, cure: str) -> None:
    error = WIRE.error(404, {}, json.dumps({"error": message}).encode())
    assert error.reason is Reason.MODEL_NOT_FOUND
    assert error.message.startswith(message)
    assert cure in error.message
    assert error.metadata == {"http_status": "404"}


def test_a_404_of_something_that_is_not_ollama_points_at_the_base_url() -> None:
    error = WIRE.error(404, {}, b"404 page not found")
    assert error.reason is Reason.PROVIDER_UNAVAILABLE
    assert "base URL" in error.message


# The other questions: models and info.


def ps(name: str, size: int, size_vram: int) -> bytes:
    return json.dumps({"models": [{"name": name, "size": size, "size_vram": size_vram}]}).encode()


@pytest.mark.parametrize(
    ("loaded", "model"),
    [
        ("llama3.2:latest", "llama3.2"),
        ("llama3.2:latest", "llama3.2:latest"),
        ("llama3.2", "llama3.2:latest"),
        ("h:80/a:latest", "h:80/a"),
    ],
)
def test_the_tag_latest_may_be_left_out(loaded: str, model: str) -> None:
    assert parse_ps(ps(loaded, 4, 4), model) is not None


@pytest.mark.parametrize("model", ["llama3.2:1b", "llama3", "host:80/llama3.2"])
def test_another_model_is_not_loaded(model: str) -> None:
    assert parse_ps(ps("llama3.2:latest", 4, 4), model) is None


@pytest.mark.parametrize(("vram", "placement"), [(4, "gpu"), (0, "cpu"), (3, "split")])
def test_where_a_model_runs(vram: int, placement: str) -> None:
    assert parse_ps(ps("m", 4, vram), "m") == {"size": 4, "size_vram": vram, "placement": placement}


def test_sizes_that_make_no_sense_are_refused() -> None:
    with pytest.raises(HeadwaterError):
        parse_ps(ps("m", 10**400, 0), "m")


def test_a_model_of_which_little_is_known() -> None:
    shown = parse_show(b'{"model_info": {"general.architecture": "x", "x.context_length": "many"}}')
    assert (shown.capabilities, shown.context_length) == ((), None)
