"""Between the contract's facts of a reply to an action and the domain's."""

from __future__ import annotations

from collections.abc import Iterable

from headwater.v1 import agent_pb2, workflow_pb2
from headwater_server.domain.chunks import FinishReason, ReplyFacts, Usage
from headwater_server.domain.errors import FieldViolation
from headwater_server.domain.limits import MAX_NAME
from headwater_server.transport.convert.replies import FINISH_REASONS, usage_message

_FINISH_REASONS = {int(number): reason for reason, number in FINISH_REASONS.items()}


def action_reply(facts: ReplyFacts | None) -> workflow_pb2.ActionReply | None:
    """The facts of a model's reply as a message; None for none."""
    if facts is None:
        return None
    return workflow_pb2.ActionReply(
        finish_reason=FINISH_REASONS[facts.reason],
        usage=usage_message(facts.usage),
        model=facts.model,
        provider=facts.provider,
    )


def parse_action_reply(message: workflow_pb2.ActionReply) -> ReplyFacts:
    """The facts that a worker sent. A finish reason that is not known is OTHER."""
    return ReplyFacts(
        reason=_FINISH_REASONS.get(message.finish_reason, FinishReason.OTHER),
        usage=_parse_usage(message.usage) if message.HasField("usage") else None,
        model=message.model[:MAX_NAME],
        provider=message.provider[:MAX_NAME],
    )


def _parse_usage(message: agent_pb2.Usage) -> Usage:
    return Usage(**{field.name: count for field, count in message.ListFields()})


def parse_finish_reasons(numbers: Iterable[int], path: str, bad: list[FieldViolation]) -> tuple[FinishReason, ...]:
    """Finish reasons; those that are none are added to `bad` under `path`."""
    reasons = []
    for index, number in enumerate(numbers):
        if number in _FINISH_REASONS:
            reasons.append(_FINISH_REASONS[number])
        else:
            bad.append(FieldViolation(f"{path}[{index}]", "is not a finish reason; FINISH_REASON_LENGTH is one"))
    return tuple(reasons)
