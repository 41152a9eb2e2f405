"""Marks up to which Anthropic keeps a prompt, from the caller's hints."""

from __future__ import annotations

from typing import Any

from headwater_server.domain.messages import CacheHint, ChatRequest, Role
from headwater_server.providers.wires import bodies

_MAX_MARKS = 4
_SHORT_SECONDS = 300.0
_NEVER_MARKED = ("thinking", "redacted_thinking")


def mark(hint: CacheHint) -> dict[str, Any]:
    """The fields of a marked block. Anthropic keeps it for 5 minutes or an hour: the least that is long enough."""
    is_long = hint.seconds is not None and hint.seconds > _SHORT_SECONDS
    return {"cache_control": {"type": "ephemeral", "ttl": "1h"} if is_long else {"type": "ephemeral"}}


def mark_last(blocks: list[dict[str, Any]], hint: CacheHint | None) -> None:
    """Marks the last block that may have a mark, if a hint asks for it."""
    markable = [block for block in blocks if block["type"] not in _NEVER_MARKED]
    if hint is not None and markable:
        markable[-1].update(mark(hint))


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
    marked = [block for block in blocks if "cache_control" in block]
    for block in marked[:-_MAX_MARKS]:
        del block["cache_control"]
    was_short = False
    for block in marked[-_MAX_MARKS:]:
        if was_short:
            block["cache_control"] = {"type": "ephemeral"}
        was_short = was_short or "ttl" not in block["cache_control"]
