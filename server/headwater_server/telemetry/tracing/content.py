"""Prompts and replies as attributes of spans, in the JSON of the GenAI conventions; only where that is enabled.

The texts of an attribute have MAX_CHARACTERS together; the rest is cut. Images are named and left out, and so is what
only the provider can read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from headwater_server.domain.chunks import FinalChunk
from headwater_server.domain.messages import (
    ChatRequest,
    Image,
    Message,
    Part,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)

MAX_CHARACTERS = 64 * 1024
"""Of the texts in one attribute."""
CUT = "…"


class _Room:
    """The room for the texts of an attribute."""

    def __init__(self) -> None:
        self._left = MAX_CHARACTERS

    def fit(self, text: str) -> str:
        """The text, or as much of it as there is room for."""
        shown = text if len(text) <= self._left else text[: self._left] + CUT
        self._left = max(self._left - len(text), 0)
        return shown


def prompt_attributes(chat: ChatRequest) -> Iterator[tuple[str, str]]:
    """The attributes with the request: instructions, messages and tools."""
    system = [message for message in chat.messages if message.role is Role.SYSTEM]
    others = [message for message in chat.messages if message.role is not Role.SYSTEM]
    if system:
        room = _Room()
        yield "gen_ai.system_instructions", _json(_parts((part for message in system for part in message.parts), room))
    room = _Room()
    yield "gen_ai.input.messages", _json([_message(message, room) for message in others])
    if chat.tools:
        yield "gen_ai.tool.definitions", _json(list(map(_tool, chat.tools)))


def reply_attributes(final: FinalChunk) -> Iterator[tuple[str, str]]:
    """The attributes with the reply, as far as it was collected."""
    message = final.message or Message(Role.ASSISTANT, tuple(final.tool_calls))
    yield "gen_ai.output.messages", _json([{**_message(message, _Room()), "finish_reason": final.finish.reason.value}])


def _message(message: Message, room: _Room) -> dict[str, Any]:
    return {"role": message.role.value, "parts": _parts(message.parts, room)}


def _parts(parts: Iterable[Part], room: _Room) -> list[dict[str, Any]]:
    return [made for part in parts if (made := _part(part, room))]


def _part(part: Part, room: _Room) -> dict[str, Any] | None:
    match part:
        case Text():
            return {"type": "text", "content": room.fit(part.text)}
        case Thinking():
            return {"type": "reasoning", "content": room.fit(part.text)}
        case ToolCall():
            return {"type": "tool_call", "id": part.id, "name": part.name, "arguments": room.fit(part.arguments)}
        case ToolResult():
            return {"type": "tool_call_response", "id": part.tool_call_id, "response": room.fit(part.content)}
        case Image():
            return {"type": "image", "mime_type": part.media_type}
    return None


def _tool(tool: Tool) -> dict[str, Any]:
    return {"type": "function", "name": tool.name, "description": tool.description}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode()  # half a surrogate is no text
