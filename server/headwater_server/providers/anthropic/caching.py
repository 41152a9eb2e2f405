"""Marks up to which Anthropic keeps a prompt, from the caller's hints."""

from __future__ import annotations

from typing import Any

from headwater_server.domain.messages import CacheHint, ChatRequest, Role
from headwater_server.providers.wires import bodies

_NEVER_MARKED = ("thinking", "redacted_thinking")


def mark_last(blocks: list[dict[str, Any]], hint: CacheHint | None) -> None:
    """Marks the last block that may have a mark, if a hint asks for it."""
    markable = [block for block in blocks if block["type"] not in _NEVER_MARKED]
    if hint is not None and markable:
        markable[-1].update(bodies.cache_mark(hint))


def system(request: ChatRequest) -> str | list[dict[str, Any]]:
    """The instructions: as text, or with a hint as blocks, one for each message."""
    messages = [message for message in request.messages if message.role is Role.SYSTEM and message.text.strip()]
    if not any(message.cache for message in messages):
        return bodies.instructions(request)
    blocks = [{"type": "text", "text": message.text} for message in messages]
    for block, message in zip(blocks, messages, strict=True):
        mark_last([block], message.cache)
    return blocks


def keep_within_limits(body: dict[str, Any]) -> None:
    """Takes marks away that Anthropic would refuse: all but the last four, and an hour after five minutes."""
    texts = body.get("system", "")
    blocks = [*body.get("tools", ()), *(texts if isinstance(texts, list) else ())]
    blocks += [block for message in body["messages"] for block in message["content"]]
    bodies.limit_cache_marks(blocks)
