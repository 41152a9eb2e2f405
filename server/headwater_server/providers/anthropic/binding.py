"""Thinking that a model takes back only behind the conversation in which it came.

From 5.1 on, Claude refuses a request with thinking whose conversation has changed before it: a trimmed history, other
instructions or tools. Anthropic takes a word to drop such thinking instead. A gateway may not know that word, so there
only the thinking of the turn that is under way is sent, which the model needs for its tool calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headwater_server.domain.messages import ChatRequest, ReasoningEffort, Role, ToolResult
from headwater_server.providers.anthropic import models

_BETA = "thinking-binding-controls-2026-08-01"
_DROP = {"type": "adaptive", "block_binding": {"prefix_mismatch_behavior": "drop_block"}}


@dataclass(frozen=True, slots=True)
class Binding:
    """The cure for one request.

    Attributes:
        first: the number of the first message whose thinking is sent.
        thinking: the field `thinking` of the body; empty for none.
        headers: further headers.
    """

    first: int = 0
    thinking: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


def binding(request: ChatRequest, takes_drop: bool) -> Binding:
    """The binding of a request. `takes_drop`: whether the service knows the word to drop thinking."""
    if not models.binds_thinking(request.model):
        return Binding()
    if _is_disabled(request):
        return Binding(first=len(request.messages))
    if takes_drop:
        return Binding(thinking=_DROP, headers={"anthropic-beta": _BETA})
    return Binding(first=_last_prompt(request))


def _is_disabled(request: ChatRequest) -> bool:
    chosen = request.provider_options.get("thinking")
    kind = chosen.get("type") if isinstance(chosen, dict) else None
    return kind == "disabled" or (kind is None and request.sampling.get("reasoning_effort") == ReasoningEffort.NONE)


def _last_prompt(request: ChatRequest) -> int:
    """The number of the last message in which the user says something."""
    prompts = (
        number
        for number, message in enumerate(request.messages)
        if message.role is Role.USER and any(not isinstance(part, ToolResult) for part in message.parts)
    )
    return max(prompts, default=0)
