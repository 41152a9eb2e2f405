"""Requests that the tests of several wires build bodies from."""

from __future__ import annotations

from typing import Any

from headwater_server.domain.messages import (
    ChatRequest,
    Image,
    Message,
    Part,
    RedactedThinking,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)

PIXEL = Image(data=b"\x89PNG", media_type="image/png")
PIXEL_BASE64 = "iVBORw=="
PICTURE_URL = Image(url="https://example.org/a.png")
WEATHER = Tool("get_weather", "Weather of a city", {"type": "object", "properties": {"city": {"type": "string"}}})
BARE_TOOL = Tool("now", "", {})


def ask(*messages: Message, model: str = "a-model", **fields: Any) -> ChatRequest:
    return ChatRequest(model, messages or (user("Hi"),), **fields)


def system(text: str) -> Message:
    return Message(Role.SYSTEM, (Text(text),))


def user(*parts: str | Part) -> Message:
    return Message(Role.USER, tuple(Text(part) if isinstance(part, str) else part for part in parts))


def assistant(*parts: str | Part) -> Message:
    return Message(Role.ASSISTANT, tuple(Text(part) if isinstance(part, str) else part for part in parts))


def tool_results(*results: ToolResult) -> Message:
    return Message(Role.TOOL, results)


TOOL_ROUND = (
    system("Be brief."),
    user("Weather in Lima and Oslo?"),
    assistant(
        Thinking("Two calls.", "sig-1"),
        RedactedThinking("secret-1"),
        "Checking.",
        ToolCall("call_1", "get_weather", '{"city":"Lima","n":9007199254740993}'),
        ToolCall("call_2", "get_weather", ""),
    ),
    tool_results(ToolResult("call_1", "get_weather", "18 °C"), ToolResult("call_2", "", "no city", is_error=True)),
    user("And tomorrow?"),
)
"""A conversation with all that a tool round has."""
