"""Thinking that is bound to its conversation: how requests keep a changed conversation from being refused."""

from __future__ import annotations

from typing import Any

import pytest

from headwater_server.domain.messages import RedactedThinking, Thinking, ToolCall, ToolResult
from headwater_server.providers.anthropic.models import binds_thinking
from headwater_server.providers.anthropic.wire import AnthropicWire
from headwater_server.providers.base import HttpCall
from tests.unit.providers.conversations import ask, assistant, tool_results, user

ANTHROPIC = AnthropicWire(takes_drop=True)
GATEWAY = AnthropicWire()
CONVERSATION = (
    user("One?"),
    assistant(Thinking("a", "s1"), RedactedThinking("r1"), "One."),
    user("Two?"),
    assistant(Thinking("b", "s2"), ToolCall("c1", "f", "{}")),
    tool_results(ToolResult("c1", "f", "x")),
)


def thinking_sent(call: HttpCall) -> list[str]:
    blocks = [block for message in call.body["messages"] for block in message["content"]]
    return [block.get("signature") or block["data"] for block in blocks if "thinking" in block["type"]]


def asked(wire: AnthropicWire, model: str, **fields: Any) -> HttpCall:
    return wire.call(ask(*CONVERSATION, model=model, **fields))


def test_anthropic_is_asked_to_drop_what_no_longer_fits():
    call = asked(ANTHROPIC, "claude-fable-5-1")
    assert call.headers["anthropic-beta"] == "thinking-binding-controls-2026-08-01"
    assert call.body["thinking"] == {
        "type": "adaptive",
        "block_binding": {"prefix_mismatch_behavior": "drop_block"},
    }
    assert thinking_sent(call) == ["s1", "r1", "s2"]


def test_the_first_request_of_a_conversation_asks_so_too_since_a_changed_field_would_empty_the_cache():
    assert "block_binding" in ANTHROPIC.call(ask(model="claude-opus-5-5")).body["thinking"]


def test_a_gateway_gets_only_the_thinking_of_the_turn_that_is_under_way():
    call = asked(GATEWAY, "claude-fable-5-1")
    assert "anthropic-beta" not in call.headers
    assert "thinking" not in call.body
    assert thinking_sent(call) == ["s2"]


@pytest.mark.parametrize("wire", [ANTHROPIC, GATEWAY], ids=["anthropic", "gateway"])
@pytest.mark.parametrize("model", ["claude-opus-5", "claude-sonnet-4-6", "claude-mythos-5-1", "smollm2"])
def test_a_model_without_this_rule_gets_all_thinking_and_no_word_of_it(wire: AnthropicWire, model: str):
    call = asked(wire, model)
    assert thinking_sent(call) == ["s1", "r1", "s2"]
    assert "anthropic-beta" not in call.headers
    assert "thinking" not in call.body


@pytest.mark.parametrize(
    "fields",
    [{"sampling": {"reasoning_effort": "none"}}, {"provider_options": {"thinking": {"type": "disabled"}}}],
    ids=["effort", "option"],
)
def test_a_request_without_thinking_brings_none_back(fields: dict[str, Any]):
    call = asked(ANTHROPIC, "claude-haiku-5-5", **fields)
    assert call.body["thinking"] == {"type": "disabled"}
    assert thinking_sent(call) == []


def test_an_effort_and_a_callers_own_thinking_go_with_it():
    options = {"thinking": {"display": "omitted"}}
    body = asked(ANTHROPIC, "claude-opus-5-5", sampling={"reasoning_effort": "low"}, provider_options=options).body
    assert body["output_config"] == {"effort": "low"}
    assert body["thinking"].keys() == {"type", "block_binding", "display"}


@pytest.mark.parametrize(
    ("model", "binds"),
    [
        ("claude-fable-5-1", True),
        ("claude-fable-5-2", True),
        ("claude-opus-5-5@20260922", True),
        ("claude-haiku-5-5", True),
        ("claude-mythos-5-2", True),
        ("anthropic.claude-opus-5-5", True),
        ("anthropic/claude-sonnet-6", True),
        ("claude-fable-5", False),
        ("claude-mythos-5-1", False),
        ("claude-opus-5-20260901", False),
        ("claude-3-5-sonnet", False),
        ("gpt-5.5", False),
    ],
)
def test_which_models_bind_their_thinking(model: str, binds: bool):
    assert binds_thinking(model) is binds
