"""Requests have nothing that Anthropic refuses: blank text, white space at the end of a prefill, results after text."""

from __future__ import annotations

from typing import Any

from headwater_server.domain.messages import Message, Role, Text, ToolCall, ToolResult
from headwater_server.providers.anthropic.wire import AnthropicWire
from tests.unit.providers.conversations import ask, assistant, user

CALL = ToolCall("c1", "f", "{}")


def sent(*messages: Message) -> list[dict[str, Any]]:
    return AnthropicWire().call(ask(*messages)).body["messages"]


def kinds(message: dict[str, Any]) -> list[str]:
    return [block["type"] for block in message["content"]]


def test_text_of_white_space_before_a_call_is_left_out():
    assert kinds(sent(user("a"), assistant(Text("\n\n"), CALL))[1]) == ["tool_use"]


def test_a_turn_of_white_space_is_left_out_and_its_neighbours_are_joined():
    [only] = sent(user("a"), assistant(Text("\n")), user("b"))
    assert [block["text"] for block in only["content"]] == ["a", "b"]


def test_white_space_at_the_end_is_cut_from_a_prefill_alone():
    assert sent(user("a "), assistant(Text("It is ")))[1]["content"] == [{"type": "text", "text": "It is"}]
    assert sent(user("a"), assistant(Text("b ")), user("c "))[1]["content"] == [{"type": "text", "text": "b "}]


def test_results_stand_before_text_in_their_message():
    both = Message(Role.USER, (Text("and now?"), ToolResult("c1", "f", "18")))
    assert kinds(sent(user("a"), assistant(CALL), both)[2]) == ["tool_result", "text"]
