"""A request as JSON, for the test that looks at it."""

from __future__ import annotations

import base64
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
    ToolCall,
    ToolResult,
)


def described(provider: str, request: ChatRequest) -> dict[str, Any]:
    """The request, with its messages in the shape of `agent.messages`; the bytes of images are base64."""
    form, choice = request.response_format, request.tool_choice
    first = request.messages[0] if request.messages else None
    return {
        "provider": provider,
        "model": request.model,
        "instructions": first.text if first and first.role is Role.SYSTEM else "",
        "messages": [_message(message) for message in request.messages],
        "parameters": dict(request.sampling),
        "tools": [
            {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
            for tool in request.tools
        ],
        "tool_choice": None if choice is None else choice.name or choice.mode.value,
        "response_format": None if form is None else form.schema or {"type": form.type.value},
        "provider_options": dict(request.provider_options),
        "user": request.user,
    }


def _message(message: Message) -> dict[str, Any]:
    parts = [_part(part) for part in message.parts]
    plain = len(parts) == 1 and parts[0].keys() == {"type", "text"}
    return {"role": message.role.value, "content": message.text if plain else parts}


def _part(part: Part) -> dict[str, Any]:
    shown = _kind(part)
    data = None if isinstance(part, Image | RedactedThinking | ToolResult) else part.provider_data
    if data is not None:
        shown["provider_data"] = {"provider": data.provider, "account": data.account, "data_json": data.data_json}
    return shown


def _kind(part: Part) -> dict[str, Any]:
    match part:
        case Text():
            return {"type": "text", "text": part.text}
        case Image(url=url) if url:
            return {"type": "image_url", "image_url": url}
        case Image():
            return {"type": "image", "data": base64.b64encode(part.data).decode(), "media_type": part.media_type}
        case Thinking():
            return {"type": "thinking", "thinking": part.text, "signature": part.signature}
        case RedactedThinking():
            return {"type": "redacted_thinking", "data": part.data}
        case ToolCall():
            return {"type": "tool_call", "id": part.id, "name": part.name, "arguments": part.arguments}
        case ToolResult():
            return {
                "type": "tool_result",
                "tool_call_id": part.tool_call_id,
                "name": part.name,
                "content": part.content,
                "is_error": part.is_error,
            }
        case _:
            return {"type": "provider_data"}
