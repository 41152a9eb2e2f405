"""Every canned and every recorded response through its decoder or parser."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headwater_server.domain.chunks import FinishReason
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.providers.base import ModelInfo
from headwater_server.providers.http.model_list import parse_models
from headwater_server.providers.ollama import wire as ollama
from headwater_server.providers.openai import chat as openai_chat
from headwater_server.providers.wires.events.ndjson import NDJSONDecoder
from tests.support.upstream.decoding import Outcome, decode, wire_for
from tests.support.upstream.fixtures import Fixture, Recorded, load_fixtures, load_recorded, same_arguments, same_text

FIXTURES = load_fixtures()
CHAT = [f for f in FIXTURES.values() if wire_for(f.endpoint) is not None]
OUR_REASON = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.CONTENT_FILTER,
    "end_turn": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "stop_sequence": FinishReason.STOP,
    "tool_use": FinishReason.TOOL_CALLS,
    "refusal": FinishReason.REFUSAL,
    "completed": FinishReason.STOP,
    "max_output_tokens": FinishReason.LENGTH,
    "load": FinishReason.OTHER,
}


def named(fixture: Fixture) -> str:
    return fixture.name


def test_there_are_81_fixtures_and_each_is_tested() -> None:
    tested_elsewhere = {"ollama-generate-plain", "ollama-unload"} | {
        f"ollama-{name}" for name in ("ps", "ps-empty", "show", "tags", "version")
    }
    assert len(FIXTURES) == 81
    assert {fixture.name for fixture in CHAT} | tested_elsewhere == set(FIXTURES)
    assert not {fixture.name for fixture in CHAT} & tested_elsewhere


@pytest.mark.parametrize("fixture", [f for f in CHAT if f.status == 200], ids=named)
def test_a_stream_becomes_what_is_expected(fixture: Fixture) -> None:
    wire = wire_for(fixture.endpoint)
    assert wire is not None
    outcome = decode(wire.decoder(fixture.content_type), fixture.pieces(), close=fixture.ends_clean)
    expected = fixture.expected
    assert same_text(expected["text"], outcome.text)
    assert same_text(expected["thinking"], outcome.thinking)
    assert outcome.refusal == expected.get("refusal", "")
    assert outcome.signatures == expected.get("signatures", [])
    assert outcome.redacted == expected.get("redacted", [])
    check_end(expected, outcome)
    if expected["error"] is None:
        check_tool_calls(expected["tool_calls"], outcome)
        check_finish(expected, outcome)


def check_end(expected: dict[str, Any], outcome: Outcome) -> None:
    error = expected["error"]
    if error is None or error["where"] in ("transport", "truncated"):
        assert outcome.error is None
        assert (outcome.finish is None) == (error is not None)
        return
    assert error["where"] == "stream"
    assert outcome.finish is None
    check_error(error, outcome.error)


def check_error(expected: dict[str, Any], error: HeadwaterError | None) -> None:
    assert error is not None
    if message := expected.get("message"):
        assert message in error.message
    if code := expected.get("code") or expected.get("type"):
        assert error.metadata["provider_code"] == code
    assert error.retry_after_seconds == expected.get("retry_after_s")


def check_tool_calls(expected: list[dict[str, Any]], outcome: Outcome) -> None:
    assert len(outcome.tool_calls) == len(expected)
    for wanted, call in zip(expected, outcome.tool_calls, strict=True):
        assert (call.id, call.name) == (wanted["id"] or "", wanted["name"])
        assert same_arguments(wanted["arguments"], call.arguments)
    first_pieces: set[int] = set()
    for piece in outcome.tool_call_pieces:
        assert piece.index in first_pieces or piece.index == len(first_pieces)
        assert piece.index not in first_pieces or not (piece.id or piece.name)
        first_pieces.add(piece.index)


def check_finish(expected: dict[str, Any], outcome: Outcome) -> None:
    finish = outcome.finish
    assert finish is not None
    reason = OUR_REASON[expected["finish_reason"]]
    if reason is FinishReason.STOP and expected["tool_calls"]:
        reason = FinishReason.TOOL_CALLS
    if reason is FinishReason.STOP and expected.get("refusal"):
        reason = FinishReason.REFUSAL
    assert finish.reason is reason
    assert finish.provider_reason == expected["finish_reason"]
    assert finish.stop_sequence == expected.get("stop_sequence")
    if expected["usage"] is None:
        assert finish.usage is None
        return
    assert finish.usage is not None
    for name, count in expected["usage"].items():
        if name.endswith("_ns"):
            assert finish.metadata[name.removesuffix("_ns")] == count
        else:
            assert getattr(finish.usage, name) == count


@pytest.mark.parametrize("fixture", [f for f in CHAT if f.status != 200], ids=named)
def test_an_error_becomes_what_is_expected(fixture: Fixture) -> None:
    wire = wire_for(fixture.endpoint)
    assert wire is not None
    expected = fixture.expected["error"]
    assert expected["where"] == "http"
    error = wire.error(fixture.status, fixture.headers, fixture.body)
    check_error(expected, error)
    assert error.metadata["http_status"] == str(fixture.status)
    request_id = fixture.headers.get("x-request-id") or fixture.headers.get("request-id") or ""
    assert error.metadata.get("provider_request_id", "") == request_id


REASONS = {
    "anthropic-400-sampling": Reason.PROVIDER_REJECTED_REQUEST,
    "anthropic-401": Reason.PROVIDER_AUTH_FAILED,
    "anthropic-404-model": Reason.MODEL_NOT_FOUND,
    "anthropic-429-retry-after": Reason.PROVIDER_RATE_LIMITED,
    "anthropic-429-spend-limit": Reason.PROVIDER_QUOTA_EXHAUSTED,
    "anthropic-529": Reason.PROVIDER_UNAVAILABLE,
    "ollama-400-no-thinking": Reason.PROVIDER_REJECTED_REQUEST,
    "ollama-400-no-tools": Reason.PROVIDER_REJECTED_REQUEST,
    "ollama-404-model": Reason.MODEL_NOT_FOUND,
    "ollama-500-memory": Reason.PROVIDER_UNAVAILABLE,
    "ollama-503-busy": Reason.PROVIDER_UNAVAILABLE,
    "openai-400-tools-need-responses": Reason.PROVIDER_REJECTED_REQUEST,
    "openai-400-unsupported-parameter": Reason.PROVIDER_REJECTED_REQUEST,
    "openai-401": Reason.PROVIDER_AUTH_FAILED,
    "openai-404-vllm-flat": Reason.MODEL_NOT_FOUND,
    "openai-429-quota": Reason.PROVIDER_QUOTA_EXHAUSTED,
    "openai-429-retry-after": Reason.PROVIDER_RATE_LIMITED,
    "openai-500-html": Reason.PROVIDER_UNAVAILABLE,
    "anthropic-overloaded-midstream": Reason.PROVIDER_UNAVAILABLE,
    "ollama-error-midstream": Reason.PROVIDER_UNAVAILABLE,
    "openai-error-first": Reason.PROVIDER_QUOTA_EXHAUSTED,
    "openai-error-midstream": Reason.PROVIDER_UNAVAILABLE,
    "openai-responses-error-nested": Reason.PROVIDER_QUOTA_EXHAUSTED,
    "openai-responses-failed": Reason.PROVIDER_UNAVAILABLE,
}


def test_the_reason_of_every_error_is_known() -> None:
    errors = {f.name for f in CHAT if (f.expected["error"] or {}).get("where") in ("http", "stream")}
    assert errors == set(REASONS)


@pytest.mark.parametrize("name", REASONS)
def test_an_error_has_the_right_reason(name: str) -> None:
    fixture = FIXTURES[name]
    wire = wire_for(fixture.endpoint)
    assert wire is not None
    if fixture.status == 200:
        error = decode(wire.decoder(fixture.content_type), fixture.pieces()).error
    else:
        error = wire.error(fixture.status, fixture.headers, fixture.body)
    assert error is not None
    assert error.reason is REASONS[name]


@pytest.mark.parametrize("name", ["ollama-generate-plain", "ollama-unload"])
def test_lines_of_generate_go_through_the_line_decoder(name: str) -> None:
    fixture = FIXTURES[name]
    decoder = NDJSONDecoder()
    lines = [json.loads(line) for piece in fixture.pieces() for line in decoder.feed(piece)]
    lines += [json.loads(line) for line in decoder.close()]
    assert "".join(line["response"] for line in lines) == fixture.expected["text"]
    assert [line["done"] for line in lines] == [False] * (len(lines) - 1) + [True]
    assert lines[-1]["done_reason"] == fixture.expected["finish_reason"]


def test_where_the_loaded_models_run() -> None:
    body = FIXTURES["ollama-ps"].body
    for model in FIXTURES["ollama-ps"].expected["value"]["models"]:
        share = model["size_vram"] / model["size"]
        placement = "gpu" if share == 1 else "split" if share else "cpu"
        facts = {"size": model["size"], "size_vram": model["size_vram"], "placement": placement}
        assert ollama.parse_ps(body, model["name"]) == facts
    assert ollama.parse_ps(FIXTURES["ollama-ps-empty"].body, "llama3.2") is None


def test_a_models_abilities() -> None:
    shown = ollama.parse_show(FIXTURES["ollama-show"].body)
    assert (shown.capabilities, shown.context_length) == (("completion", "tools"), 131_072)


def test_the_models_on_disk() -> None:
    assert parse_models(FIXTURES["ollama-tags"].body) == [
        ModelInfo("llama3.2:latest", ("completion", "tools")),
        ModelInfo("gpt-oss:120b-cloud"),
    ]


def test_the_version() -> None:
    assert ollama.parse_version(FIXTURES["ollama-version"].body) == "0.40.6"


# Recorded from a real llama.cpp server.

RECORDED = load_recorded()
STREAMED = [
    r
    for r in RECORDED.values()
    if wire_for(r.path) is not None and r.status == 200 and r.content_type == "text/event-stream"
]


def recorded_name(recorded: Recorded) -> str:
    return recorded.name


def recorded_deltas(recorded: Recorded) -> list[dict[str, Any]]:
    """The JSON of all events, found without the code under test."""
    lines = recorded.body.decode().split("\n")
    return [json.loads(line[6:]) for line in lines if line.startswith("data: {")]


def recorded_text(recorded: Recorded) -> str:
    """The text, picked from the raw JSON by the rules of each API."""
    text = ""
    for event in recorded_deltas(recorded):
        for choice in event.get("choices", []):
            text += choice["delta"].get("content") or "" if choice["index"] == 0 else ""
        if event.get("type") == "response.output_text.delta":
            text += event["delta"]
        if event.get("type") == "content_block_delta":
            text += event["delta"].get("text", "")
    return text


def test_the_recordings_are_there() -> None:
    assert len(STREAMED) >= 15
    assert {wire.api for r in STREAMED if (wire := wire_for(r.path))} == {"chat_completions", "responses", "messages"}


@pytest.mark.parametrize("recorded", STREAMED, ids=recorded_name)
def test_a_recorded_stream_is_understood(recorded: Recorded) -> None:
    wire = wire_for(recorded.path)
    assert wire is not None
    outcome = decode(wire.decoder(recorded.content_type), recorded.pieces, close=recorded.ends_clean)
    assert outcome.error is None
    assert outcome.text == recorded_text(recorded)
    if not recorded.ends_clean:
        assert outcome.finish is None
        return
    assert outcome.finish is not None
    assert outcome.finish.reason is not FinishReason.OTHER
    if b'"get_weather"' in recorded.body:
        (call,) = outcome.tool_calls
        assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": "Paris"})
        assert call.id
        assert outcome.finish.reason is FinishReason.TOOL_CALLS
    else:
        assert outcome.tool_calls == []
    if b'"usage"' in recorded.body:
        assert outcome.finish.usage is not None
        assert outcome.finish.usage.output_tokens


def test_cut_recordings_have_no_finish() -> None:
    cut = {r.name for r in STREAMED if not r.ends_clean}
    assert cut == {"special/upstream_sigkill_midstream", "special/upstream_sigterm_midstream"}


@pytest.mark.parametrize("recorded", [r for r in RECORDED.values() if r.status != 200], ids=recorded_name)
def test_a_recorded_error_is_understood(recorded: Recorded) -> None:
    wire = wire_for(recorded.path) or wire_for("/v1/chat/completions")
    assert wire is not None
    error = wire.error(recorded.status, recorded.headers, recorded.body)
    assert json.loads(recorded.body)["error"]["message"] in error.message
    reason = {
        400: Reason.PROVIDER_REJECTED_REQUEST,
        401: Reason.PROVIDER_AUTH_FAILED,
        404: Reason.PROVIDER_UNAVAILABLE,  # paths that it does not have
    }[recorded.status]
    if b"exceed_context_size_error" in recorded.body:
        reason = Reason.CONTEXT_WINDOW_EXCEEDED
    assert error.reason is reason


def test_a_recorded_completion_that_is_no_stream_is_understood() -> None:
    recorded = RECORDED["llamacpp-smollm2/chat_nonstream"]
    outcome = decode(openai_chat.OpenAIChatWire(genuine=False).decoder(recorded.content_type), recorded.pieces)
    message = json.loads(recorded.body)["choices"][0]["message"]
    assert outcome.text == message["content"]
    assert outcome.finish is not None
    assert outcome.finish.reason is FinishReason.LENGTH
    assert outcome.finish.usage is not None
    assert (outcome.finish.usage.input_tokens, outcome.finish.usage.total_tokens) == (12, 28)


def test_the_recorded_list_of_models() -> None:
    assert parse_models(RECORDED["llamacpp-smollm2/01-models"].body) == [ModelInfo("smollm2")]
