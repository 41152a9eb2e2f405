"""Hints to keep the prompt become Anthropic's marks, never more than it takes."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from headwater_server.domain.messages import CacheHint, ChatRequest, Message, Thinking, ToolCall, ToolResult
from headwater_server.providers.anthropic.wire import AnthropicWire
from tests.unit.providers.conversations import WEATHER, ask, assistant, system, tool_results, user

SHORT = {"type": "ephemeral"}
LONG = {"type": "ephemeral", "ttl": "1h"}


def cached(message: Message, seconds: float | None = None) -> Message:
    return replace(message, cache=CacheHint(seconds))


def body(request: ChatRequest) -> dict[str, Any]:
    return AnthropicWire().call(request).body


def marks(request: ChatRequest) -> list[Any]:
    """The marks of all blocks, in the order in which Anthropic reads them; None for a block without."""
    sent = body(request)
    system_blocks = sent.get("system", [])
    blocks = [*sent.get("tools", []), *(system_blocks if isinstance(system_blocks, list) else [])]
    blocks += [block for message in sent["messages"] for block in message["content"]]
    return [block.get("cache_control") for block in blocks]


def test_a_hint_marks_the_last_block_of_its_message():
    assert marks(ask(cached(user("a", "b")), user("c"))) == [None, SHORT, None]


def test_instructions_with_a_hint_become_blocks():
    sent = body(ask(cached(system("Long.")), system("Short."), user("Hi")))
    assert sent["system"] == [
        {"type": "text", "text": "Long.", "cache_control": SHORT},
        {"type": "text", "text": "Short."},
    ]
    assert body(ask(system("Long."), user("Hi")))["system"] == "Long."


def test_tools_results_and_calls_are_marked_but_thinking_is_not():
    call = ToolCall("c1", "f", "{}")
    tool = replace(WEATHER, cache=CacheHint())
    asked = (user("?"), cached(assistant(call)), cached(tool_results(ToolResult("c1", "f", "x"))))
    assert marks(ask(*asked, tools=(tool,))) == [SHORT, None, SHORT, SHORT]
    assert marks(ask(user("?"), cached(assistant("Hm.", Thinking("t", "s"))), user("!"))) == [None, SHORT, None, None]
    assert marks(ask(user("?"), cached(assistant(Thinking("t", "s"))), user("!"))) == [None, None, None]


@pytest.mark.parametrize(("seconds", "mark"), [(None, SHORT), (1, SHORT), (300, SHORT), (301, LONG), (86400, LONG)])
def test_the_time_is_the_least_that_is_long_enough(seconds: float | None, mark: dict[str, str]):
    assert marks(ask(cached(user("a"), seconds))) == [mark]


def test_only_the_last_four_are_kept():
    turns = (cached(user("a")), cached(assistant("b")), cached(user("c")), cached(assistant("d")), cached(user("e")))
    assert marks(ask(*turns)) == [None, SHORT, SHORT, SHORT, SHORT]


def test_no_hour_stands_behind_five_minutes():
    turns = (cached(user("a"), 3600), cached(assistant("b")), cached(user("c"), 3600))
    assert marks(ask(*turns)) == [LONG, SHORT, SHORT]
