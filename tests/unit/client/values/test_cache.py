"""Hints to keep the prompt, as callers write them on messages and tools."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from headwater import ValidationError
from headwater._values.messages import to_dict, to_messages
from headwater.tools import Tool, tool

MESSAGES = [
    {"role": "system", "content": "Be brief.", "cache": True},
    {"role": "user", "content": "Hi", "cache": 3600.0},
    {"role": "assistant", "content": "Yes."},
]


@tool(cache=60)
def get_time() -> str:
    """The time."""
    return "noon"


def test_a_message_with_a_hint_comes_back_as_it_was():
    messages = to_messages(MESSAGES)
    assert [to_dict(message) for message in messages] == MESSAGES
    assert [message.HasField("cache") for message in messages] == [True, True, False]
    assert not messages[0].cache.HasField("ttl")
    assert messages[1].cache.ttl.seconds == 3600


def test_a_tool_has_its_hint_in_a_request_also_as_a_copy():
    assert get_time.definition().cache.ttl.seconds == 60
    assert copy.copy(Tool(len, name="length", description="", parameters={}, cache=60)).cache == 60
    assert not Tool(len, name="length", description="", parameters={}).definition().HasField("cache")


@pytest.mark.parametrize("value", [0, -1, 86_401, "1h", float("nan")])
def test_a_hint_that_is_none_says_what_one_is(value: Any):
    with pytest.raises(ValidationError, match=r"messages\[0\].cache.*must be True, or seconds"):
        to_messages([{"role": "user", "content": "Hi", "cache": value}])
    with pytest.raises(ValidationError, match="must be True, or seconds"):
        Tool(len, name="length", description="", parameters={}, cache=value)
