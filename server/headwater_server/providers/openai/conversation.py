"""The messages of a conversation, as Chat Completions have them.

OpenAI takes any order of messages. Other servers put them through the chat template of a model, and templates are
strict: one system message, which stands first; user and assistant in turn; no message of white space only. So for these
the system messages are joined at the beginning, and messages of one role that follow each other become one. Nothing
that was said is lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from headwater_server.domain.messages import ChatRequest, Image, Message, Role, Text, ToolCall, ToolResult
from headwater_server.providers.model_names import MISTRALS, MODELS, base_name
from headwater_server.providers.openai import reasoning
from headwater_server.providers.openai.profiles import Profile
from headwater_server.providers.wires import bodies
from headwater_server.providers.wires.result_images import images_after_results

_WANT_THINKING = re.compile(r"kimi|deepseek", re.IGNORECASE)
_NO_THINKING = {"reasoning_content": " "}  # nothing at all is refused like a missing field


def conversation(
    request: ChatRequest,
    *,
    strict: bool,
    names_results: bool = False,
    unsigned_call: Mapping[str, Any] | None = None,
    cache_marks: bool = False,
) -> list[dict[str, Any]]:
    """The messages.

    Args:
        request: the request.
        strict: whether the server may be strict about their order.
        names_results: whether a tool result has the name of its tool.
        unsigned_call: the fields of the first call of a message that has none beside its function.
        cache_marks: whether the caller's hints to keep the prompt become marks.
    """
    names = bodies.names_of_calls(request) if names_results else {}
    items: list[dict[str, Any]] = []
    for number, message in images_after_results(request.messages):
        ours = list(_message(message, f"messages[{number}]", names))
        if cache_marks and message.cache and ours and not _is_blank(ours[-1]):
            ours[-1] |= bodies.cache_mark(message.cache)
        items += ours
    if unsigned_call:
        for calls in (item["tool_calls"] for item in items if "tool_calls" in item):
            calls[0] = {**unsigned_call, **calls[0]}
    items = _in_turn(items) if strict else items
    return _with_marks_on_texts(items) if cache_marks else items


def question(messages: Sequence[Message]) -> list[dict[str, Any]] | None:
    """The messages where they are instructions and a question in text, or the question alone: every server takes these
    as they are. None for any other conversation.
    """
    items: list[dict[str, Any]] = []
    for message in messages:
        role, parts = message.role, message.parts
        is_next = role is Role.USER or (role is Role.SYSTEM and not items)
        if not is_next or message.cache or len(parts) != 1 or not isinstance(only := parts[0], Text):
            return None
        if not only.text.strip():
            return None
        items.append({"role": str(role), "content": only.text})
    return items if len(messages) == 1 or (len(messages) == 2 and items[0]["role"] == "system") else None


def _message(message: Message, field: str, names: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """The message, and each tool result as a separate message."""
    if len(message.parts) == 1 and isinstance(only := message.parts[0], Text):  # as nearly all are
        if only.text:
            yield {"role": str(message.role), "content": only.text}
        return
    for result in bodies.parts(message, ToolResult):
        name = result.name or names.get(result.tool_call_id, "") if names else ""
        item = {"role": "tool", "tool_call_id": result.tool_call_id, "content": result.content}
        yield item | {"name": name} if name else item
    images = any(isinstance(part, Image) for part in message.parts)
    ours: dict[str, Any] = {"role": str(message.role)}
    if images:
        ours["content"] = [_content_part(part) for part in message.parts if isinstance(part, Text | Image)]
    elif message.text:
        ours["content"] = message.text
    calls = [
        _tool_call(part, f"{field}.parts[{number}]")
        for number, part in enumerate(message.parts)
        if isinstance(part, ToolCall)
    ]
    if calls:
        ours.setdefault("content", None)  # DeepSeek wants the key; null is right everywhere
        ours["tool_calls"] = calls
    if len(ours) > 1:
        yield ours | reasoning.fields_of_message(message, field)
    elif message.role is not Role.TOOL and not message.parts:
        yield ours | {"content": ""}


def _content_part(part: Text | Image) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    return {"type": "image_url", "image_url": {"url": bodies.image_url(part)}}


def _tool_call(call: ToolCall, field: str) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments or "{}"}
    return {"id": call.id, "type": "function", "function": function} | reasoning.fields_of_call(call, field)


def _in_turn(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages with one system message first, and user and assistant in turn."""
    instructions = [item["content"] for item in items if item["role"] == "system" and not _is_blank(item)]
    joined: list[dict[str, Any]] = []
    if instructions:
        joined.append({"role": "system", "content": "\n\n".join(instructions)})
        marks = [item["cache_control"] for item in items if item["role"] == "system" and "cache_control" in item]
        joined[0] |= {"cache_control": marks[-1]} if marks else {}
    for item in items:
        if item["role"] == "system" or (item["role"] == "assistant" and _is_blank(item)):
            continue
        if joined and _continues(joined[-1], item):
            joined[-1] = {**joined[-1], "content": _both(joined[-1]["content"], item["content"])}
        else:
            joined.append(item)
    return joined


def _with_marks_on_texts(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages with each mark on their last text, where it must stand; a message without text has none."""
    bodies.limit_cache_marks(items)
    moved = []
    for item in items:
        mark = {"cache_control": item.pop("cache_control")} if "cache_control" in item else {}
        if mark and item["content"]:
            parts = _as_parts(item["content"])
            last = max((place for place, part in enumerate(parts) if part["type"] == "text"), default=-1)
            marked = [part | mark if place == last else part for place, part in enumerate(parts)]
            item = item | {"content": marked}
        moved.append(item)
    return moved


def _is_blank(item: dict[str, Any]) -> bool:
    """Whether a message says nothing but white space."""
    content = item["content"]
    return item.keys() == {"role", "content"} and isinstance(content, str) and not content.strip()


def _continues(before: dict[str, Any], item: dict[str, Any]) -> bool:
    """Whether a message is the rest of the one before: plain messages of one speaker, without calls or thinking."""
    speaker = item["role"]
    plain = {"role", "content"}
    return speaker in ("user", "assistant") and speaker == before["role"] and before.keys() == item.keys() == plain


def _both(first: Any, second: Any) -> Any:
    if isinstance(first, str) and isinstance(second, str):
        return f"{first}\n\n{second}" if first and second else first or second
    return [*_as_parts(first), *_as_parts(second)]


def _as_parts(content: Any) -> list[dict[str, Any]]:
    if isinstance(content, list):
        return content
    return [{"type": "text", "text": content}] if content else []


def filled(messages: list[dict[str, Any]], profile: Profile, model: str) -> list[dict[str, Any]]:
    """The messages with all that a service misses in a conversation that began with another, or stopped midway.

    DeepSeek and Kimi want thinking on every reply. Mistral wants a reply between results of tools and a question, and a
    mark on a reply that it is to continue.
    """
    wants_thinking, wants_replies = _wants(model)
    if profile.wants_thinking or (not profile.is_known and wants_thinking):
        messages = [_NO_THINKING | item if item["role"] == "assistant" else item for item in messages]
    if profile.wants_replies or wants_replies:
        messages = list(_with_replies(messages))
    if profile.wants_replies and messages and messages[-1]["role"] == "assistant":
        messages[-1] = messages[-1] | {"prefix": True}
    return messages


@lru_cache(maxsize=MODELS)
def _wants(model: str) -> tuple[bool, bool]:
    """Whether the model is of those that want thinking on every reply, and of those that want replies to results."""
    name = base_name(model)
    return _WANT_THINKING.search(name) is not None, MISTRALS.search(name) is not None


def _with_replies(messages: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    before = ""
    for item in messages:
        if before == "tool" and item["role"] == "user":
            yield {"role": "assistant", "content": "OK."}
        before = item["role"]
        yield item
