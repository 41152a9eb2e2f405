"""Conversations as callers write them, and as the contract has them.

Callers write what they know from other SDKs: `{"role": "user", "content": "..."}` with text or a list of parts, tool
calls under `tool_calls`, results with the role `tool`. Messages of the contract are taken as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from headwater._values.durations import cache_hint, show_cache
from headwater._values.images import Image, to_image
from headwater._values.json_values import json_text
from headwater._values.tool_results import image_parts, result_text, tool_result
from headwater._values.validation import invalid, text
from headwater.v1 import agent_pb2

_ROLES: dict[str, agent_pb2.Role] = {
    "system": agent_pb2.ROLE_SYSTEM,
    "developer": agent_pb2.ROLE_SYSTEM,
    "user": agent_pb2.ROLE_USER,
    "assistant": agent_pb2.ROLE_ASSISTANT,
    "tool": agent_pb2.ROLE_TOOL,
}
_KEYS: dict[agent_pb2.Role, tuple[str, ...]] = {
    agent_pb2.ROLE_SYSTEM: ("role", "content", "cache"),
    agent_pb2.ROLE_USER: ("role", "content", "cache"),
    agent_pb2.ROLE_ASSISTANT: ("role", "content", "tool_calls", "interrupted", "cache"),
    agent_pb2.ROLE_TOOL: ("role", "content", "tool_call_id", "name", "is_error", "cache"),
}
_PART_KEYS: dict[str, tuple[str, ...]] = {
    "text": ("type", "text", "provider_data"),
    "input_text": ("type", "text"),
    "output_text": ("type", "text"),
    "image": ("type", "data", "media_type", "url"),
    "image_url": ("type", "image_url"),
    "thinking": ("type", "thinking", "signature", "provider_data"),
    "redacted_thinking": ("type", "data", "provider_data"),
    "provider_data": ("type", "provider_data"),
    "tool_call": ("type", "id", "name", "arguments", "function", "provider_data"),
    "tool_result": ("type", "tool_call_id", "name", "content", "is_error"),
}
_TOOL_CALL_KEYS = ("type", "id", "index", "name", "arguments", "function", "provider_data")
_PROVIDER_DATA_KEYS = ("provider", "account", "data_json")
_ODD_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]")
_LONGEST_NAME = 64
_ROLE_NAMES = {role: name for name, role in _ROLES.items() if name != "developer"}


PartLike: TypeAlias = str | Image | Mapping[str, Any] | agent_pb2.Part
MessageLike: TypeAlias = Mapping[str, Any] | agent_pb2.ChatMessage
Prompt: TypeAlias = str | Sequence[PartLike]


def user_message(prompt: Prompt) -> agent_pb2.ChatMessage:
    """The user message of a prompt."""
    return agent_pb2.ChatMessage(role=agent_pb2.ROLE_USER, parts=_parts("prompt", prompt))


def to_messages(messages: Any) -> list[agent_pb2.ChatMessage]:
    """The conversation that a caller wrote."""
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Sequence):
        raise invalid("messages", "must be a list of messages, each a dict with `role` and `content`")
    return [_message(f"messages[{index}]", message) for index, message in enumerate(messages)]


def _message(name: str, value: Any) -> agent_pb2.ChatMessage:
    if isinstance(value, agent_pb2.ChatMessage):
        message = agent_pb2.ChatMessage()
        message.CopyFrom(value)  # the caller may change theirs before it is sent
        return message
    if not isinstance(value, Mapping):
        raise invalid(name, f"must be a dict with `role` and `content`, not {type(value).__name__}")
    role = _ROLES.get(str(value.get("role")))
    if role is None:
        raise invalid(f"{name}.role", "must be system, user, assistant or tool")
    _check_keys(name, value, _KEYS[role])
    content = value.get("content")
    cache = cache_hint(f"{name}.cache", value.get("cache"))
    if role == agent_pb2.ROLE_TOOL and (value.get("tool_call_id") or value.get("name")):
        return agent_pb2.ChatMessage(role=role, parts=[_tool_result(name, {**value, "content": content})], cache=cache)
    parts = _parts(f"{name}.content", content) if content is not None else []
    if role == agent_pb2.ROLE_TOOL and not all(part.HasField("tool_result") for part in parts):
        raise invalid(f"{name}.tool_call_id", "is missing; a tool message needs the id of the call that it answers")
    calls = value.get("tool_calls") or []
    if not isinstance(calls, list | tuple):
        raise invalid(f"{name}.tool_calls", "must be a list of dicts")
    parts += [
        agent_pb2.Part(tool_call=_tool_call(f"{name}.tool_calls[{index}]", call)) for index, call in enumerate(calls)
    ]
    if not parts:
        raise invalid(f"{name}.content", "is empty; write a text or a list of parts")
    return agent_pb2.ChatMessage(role=role, parts=parts, cache=cache)


def _check_keys(name: str, value: Mapping[str, Any], known: tuple[str, ...]) -> None:
    """Refuse what would be lost. A key without a value says nothing, as SDKs dump them."""
    for key, item in value.items():
        if key not in known and not (item is None or (isinstance(item, str | list | dict) and not item)):
            raise invalid(f"{name}.{key}", f"is not known here; there are {', '.join(known)}")


def _parts(name: str, content: Any) -> list[agent_pb2.Part]:
    if isinstance(content, str):
        return [agent_pb2.Part(text=text(name, content))] if content else []
    if isinstance(content, bytes | Mapping) or not isinstance(content, Sequence):
        raise invalid(name, f"must be a str or a list of parts, not {type(content).__name__}")
    return [_part(f"{name}[{index}]", part) for index, part in enumerate(content)]


def _part(name: str, part: Any) -> agent_pb2.Part:
    if isinstance(part, str):
        return agent_pb2.Part(text=text(name, part))
    if isinstance(part, Image):
        return agent_pb2.Part(image=to_image(name, part))
    if isinstance(part, agent_pb2.Part):
        copy = agent_pb2.Part()
        copy.CopyFrom(part)
        return copy
    kind = part.get("type") if isinstance(part, Mapping) else None
    if isinstance(kind, str) and kind in _PART_KEYS:
        _check_keys(name, part, _PART_KEYS[kind])
    else:
        raise invalid(name, "must be a str, an Image, or a dict with the type text, image or image_url")
    result = _part_of_kind(name, kind, part)
    if part.get("provider_data") is not None:
        result.provider_data.CopyFrom(_provider_data(f"{name}.provider_data", part["provider_data"]))
    return result


def _part_of_kind(name: str, kind: str, part: Mapping[str, Any]) -> agent_pb2.Part:
    match kind:
        case "image":
            return agent_pb2.Part(image=to_image(name, part))
        case "image_url":
            url = part.get("image_url")
            if isinstance(url, Mapping):
                _check_keys(f"{name}.image_url", url, ("url",))
            return agent_pb2.Part(image=to_image(name, {"url": url.get("url") if isinstance(url, Mapping) else url}))
        case "thinking":
            thinking = text(f"{name}.thinking", part.get("thinking"))
            signature = text(f"{name}.signature", part.get("signature", ""))
            return agent_pb2.Part(thinking=agent_pb2.Thinking(text=thinking, signature=signature))
        case "redacted_thinking":
            data = text(f"{name}.data", part.get("data"))
            return agent_pb2.Part(redacted_thinking=agent_pb2.RedactedThinking(data=data))
        case "tool_call":
            return agent_pb2.Part(tool_call=_tool_call(name, part))
        case "tool_result":
            return _tool_result(name, part)
        case "provider_data":
            return agent_pb2.Part()
        case _:
            return agent_pb2.Part(text=text(f"{name}.text", part.get("text")))


def _provider_data(name: str, value: Any) -> agent_pb2.ProviderData:
    """The data that a provider wants back, as `Agent.messages` shows it."""
    if not isinstance(value, Mapping):
        raise invalid(name, "must be a dict with provider, account and data_json, as it came")
    _check_keys(name, value, _PROVIDER_DATA_KEYS)
    return agent_pb2.ProviderData(**{key: text(f"{name}.{key}", value.get(key, "")) for key in _PROVIDER_DATA_KEYS})


def _tool_call(name: str, call: Any) -> agent_pb2.ToolCall:
    if not isinstance(call, Mapping):
        raise invalid(name, "must be a dict with id, name and arguments")
    _check_keys(name, call, _TOOL_CALL_KEYS)
    function = call.get("function", call)
    if not isinstance(function, Mapping):
        raise invalid(f"{name}.function", "must be a dict with name and arguments")
    arguments = function.get("arguments", "")
    return agent_pb2.ToolCall(
        id=text(f"{name}.id", call.get("id", "")),
        name=harmless_name(text(f"{name}.name", function.get("name"))),
        arguments_json=text(f"{name}.arguments", arguments)
        if isinstance(arguments, str)
        else json_text(f"{name}.arguments", arguments),
    )


def _tool_result(name: str, result: Mapping[str, Any]) -> agent_pb2.Part:
    content = result.get("content")
    written: str | list[agent_pb2.Part] | None = image_parts(f"{name}.content", content)
    if written is None:
        written = (
            text(f"{name}.content", content) if isinstance(content, str) else json_text(f"{name}.content", content)
        )
    return agent_pb2.Part(
        tool_result=tool_result(
            text(f"{name}.tool_call_id", result.get("tool_call_id", "")),
            harmless_name(called) if (called := text(f"{name}.name", result.get("name", ""))) else "",
            written,
            is_error=bool(result.get("is_error", False)),
        )
    )


def harmless_name(name: str) -> str:
    """The name of a tool as every provider reads it again: a model may invent one that its own API refuses."""
    return _ODD_IN_NAMES.sub("_", name)[:_LONGEST_NAME] or "unknown"


def show_result(result: agent_pb2.ToolResult) -> dict[str, Any]:
    """A result as `metadata["tool_results"]` has it: images stand in its text by their size, and in `parts`."""
    shown = {
        "id": result.tool_call_id,
        "name": result.name,
        "content": result_text(result),
        "is_error": result.HasField("failure"),
    }
    return shown | {"parts": [_kind_to_dict(part) for part in result.parts]} if result.parts else shown


def to_dict(message: agent_pb2.ChatMessage) -> dict[str, Any]:
    """A message as callers write it; the inverse of the conversion of `messages=`."""
    parts = [_part_to_dict(part) for part in message.parts]
    content: Any = parts or message.content
    if len(parts) == 1 and parts[0].keys() == {"type", "text"}:
        content = parts[0]["text"]
    shown = {"role": _ROLE_NAMES[message.role], "content": content}
    return shown | {"cache": show_cache(message.cache)} if message.HasField("cache") else shown


def _part_to_dict(part: agent_pb2.Part) -> dict[str, Any]:
    shown = _kind_to_dict(part)
    if part.HasField("provider_data"):
        shown["provider_data"] = {key: getattr(part.provider_data, key) for key in _PROVIDER_DATA_KEYS}
    return shown


def _kind_to_dict(part: agent_pb2.Part) -> dict[str, Any]:
    kind = part.WhichOneof("kind")
    if kind == "image":
        if part.image.url:
            return {"type": "image_url", "image_url": part.image.url}
        return {"type": "image", "data": part.image.data, "media_type": part.image.media_type}
    if kind == "thinking":
        return {"type": "thinking", "thinking": part.thinking.text, "signature": part.thinking.signature}
    if kind == "redacted_thinking":
        return {"type": "redacted_thinking", "data": part.redacted_thinking.data}
    if kind == "tool_call":
        call = part.tool_call
        return {"type": "tool_call", "id": call.id, "name": call.name, "arguments": call.arguments_json}
    if kind == "tool_result":
        result = part.tool_result
        return {
            "type": "tool_result",
            "tool_call_id": result.tool_call_id,
            "name": result.name,
            "content": [_kind_to_dict(part) for part in result.parts] or result.content or result.failure.message,
            "is_error": result.HasField("failure"),
        }
    return {"type": "text", "text": part.text} if kind else {"type": "provider_data"}
