"""The facts of a model's reply to the action of a step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headwater.v1 import agent_pb2, workflow_pb2

_NAMES: dict[int, str] = {
    value.number: value.name.removeprefix("FINISH_REASON_").lower()
    for value in agent_pb2.FinishReason.DESCRIPTOR.values
    if value.number
}
FINISH_REASON_NUMBERS: dict[str, agent_pb2.FinishReason] = {
    name: agent_pb2.FinishReason.ValueType(number)  # type: ignore[misc]
    for number, name in _NAMES.items()
}
CUT_REASONS = frozenset({"length", "tool_calls", "content_filter", "refusal", "pause"})
"""Finish reasons of a reply that is not whole."""


@dataclass(frozen=True)
class ReplyFacts:
    """The facts of a reply; each is None when there was no reply, or the provider did not say.

    Attributes:
        finish_reason: `stop`, `length` and so on.
        usage: counts of tokens by name, those that the provider reported.
        model: the model asked for.
        provider: name of the provider that answered.
    """

    finish_reason: str | None = None
    usage: Mapping[str, int] | None = None
    model: str | None = None
    provider: str | None = None


def reply_facts(message: workflow_pb2.ActionReply) -> ReplyFacts:
    """The facts of a reply as the service sends them; an unset message has none."""
    reason = message.finish_reason
    return ReplyFacts(
        finish_reason=_NAMES.get(reason, "other") if reason else None,
        usage=usage_counts(message.usage) if message.HasField("usage") else None,
        model=message.model or None,
        provider=message.provider or None,
    )


def reply_message(metadata: Mapping[str, Any]) -> workflow_pb2.ActionReply:
    """The facts of a reply from the metadata of its chunks."""
    usage = metadata.get("usage")
    return workflow_pb2.ActionReply(
        finish_reason=FINISH_REASON_NUMBERS.get(metadata.get("finish_reason", ""), agent_pb2.FINISH_REASON_OTHER),
        usage=None if usage is None else agent_pb2.Usage(**usage),
        model=metadata.get("model", ""),
        provider=metadata.get("provider", ""),
    )


def usage_counts(usage: agent_pb2.Usage) -> dict[str, int]:
    """Counts of tokens by name."""
    return {field.name: count for field, count in usage.ListFields()}
