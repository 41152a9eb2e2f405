"""Thinking that a server of Chat Completions wants back: kept from its stream, and sent as it came."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headwater_server.domain.chunks import Delta
from headwater_server.domain.messages import Message, Opaque, ProviderData, Thinking, ToolCall
from headwater_server.providers.openai.chat import OpenAIChatWire
from headwater_server.providers.openai.profiles import Profile
from tests.support.upstream.decoding import Outcome, decode
from tests.unit.providers.conversations import ask, assistant, user

WIRE = OpenAIChatWire(genuine=False, profile=Profile())
CALL = {"index": 0, "id": "c1", "function": {"name": "f", "arguments": "[]"}}


def read(*deltas: dict[str, Any], reason: str = "tool_calls") -> Outcome:
    choices = [{"delta": delta} for delta in deltas] + [{"delta": {}, "finish_reason": reason}]
    lines = [f"data: {json.dumps({'choices': [choice]})}\n\n".encode() for choice in choices]
    return decode(WIRE.decoder("text/event-stream"), [*lines, b"data: [DONE]\n\n"])


def data(text: str | None) -> ProviderData:
    assert text is not None
    return ProviderData("deepseek", "a1", text)


def sent(message: Message) -> dict[str, Any]:
    ours: dict[str, Any] = WIRE.call(ask(user("Hi"), message)).body["messages"][1]
    return ours


def test_reasoning_content_goes_back_with_the_calls_it_led_to():
    [thinking, *_] = read({"reasoning_content": "Two calls."}, {"tool_calls": [CALL]}).deltas
    part = Thinking("Two calls.", "", data(thinking.provider_data))
    assert sent(assistant(part, ToolCall("c1", "f", "{}"))) == {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        "reasoning_content": "Two calls.",
    }


def test_reasoning_content_stays_here_without_calls():
    [thinking, *_] = read({"reasoning_content": "Hm."}).deltas
    assert sent(assistant(Thinking("Hm.", "", data(thinking.provider_data)), "Yes.")) == {
        "role": "assistant",
        "content": "Yes.",
    }


def test_thinking_that_the_server_does_not_want_back_is_not_sent():
    [thinking, *_] = read({"reasoning": "Hm."}, {"tool_calls": [CALL]}).deltas
    assert thinking == Delta(thinking="Hm.")
    assert "reasoning_content" not in sent(assistant(Thinking("Hm.", ""), ToolCall("c1", "f", "{}")))


DETAILS = [
    {"type": "reasoning.text", "index": 0, "format": "anthropic-claude-v1", "text": "Two calls.", "signature": "s"},
    {"type": "reasoning.encrypted", "index": 1, "data": "enc", "id": "r1"},
    {"type": "reasoning.summary", "index": 2, "summary": "In short."},
]


def test_reasoning_details_go_back_as_they_came():
    outcome = read(
        {"reasoning": "Two", "reasoning_details": [DETAILS[0] | {"text": "Two", "signature": None}]},
        {"reasoning": " calls.", "reasoning_details": [{"type": "reasoning.text", "index": 0, "text": " calls."}]},
        {"reasoning_details": [{"type": "reasoning.text", "index": 0, "signature": "s"}, DETAILS[1]]},
        {"reasoning_details": [{"type": "reasoning.summary", "index": 2, "summary": "In "}]},
        {"reasoning_details": [{"type": "reasoning.summary", "index": 2, "summary": "short."}]},
        {"tool_calls": [CALL]},
    )
    assert outcome.thinking == "Two calls."
    [kept] = [delta for delta in outcome.deltas if delta.provider_data is not None]
    assert not kept.says_something()
    assert sent(assistant(Opaque(data(kept.provider_data)), "Yes."))["reasoning_details"] == DETAILS


@pytest.mark.parametrize("odd", [None, "text", 1, {}, [], ["text"], [None]])
def test_odd_details_say_nothing(odd):
    outcome = read({"content": "Yes.", "reasoning_details": odd})
    assert outcome.text == "Yes."
    assert all(delta.provider_data is None for delta in outcome.deltas)


def test_details_that_are_too_large_are_left_out_as_a_whole():
    piece = {"reasoning_details": [{"type": "reasoning.text", "index": 0, "text": "x" * 600_000}]}
    assert all(delta.provider_data is None for delta in read(piece, piece, piece).deltas)


def test_the_signature_on_a_call_goes_back_on_that_call():
    extra = {"google": {"thought_signature": "sig"}}
    outcome = read({"tool_calls": [CALL | {"extra_content": extra}, CALL | {"index": 1, "id": "c2"}]})
    first, second = outcome.tool_call_pieces
    assert second.provider_data is None
    calls = sent(assistant(ToolCall("c1", "f", "{}", data(first.provider_data)), ToolCall("c2", "f", "{}")))
    assert [call.get("extra_content") for call in calls["tool_calls"]] == [extra, None]


@pytest.mark.parametrize("odd", ["text", 1, [], {}])
def test_an_odd_extra_is_left_out(odd):
    [piece] = read({"tool_calls": [CALL | {"extra_content": odd}]}).tool_call_pieces
    assert piece.provider_data is None
