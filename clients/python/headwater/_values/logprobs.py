"""The tokens of a reply with their log probabilities."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from headwater.v1 import agent_pb2

TokenKind: TypeAlias = Literal["text", "thinking", "refusal"]

_KINDS: dict[int, TokenKind] = {
    agent_pb2.TOKEN_KIND_THINKING: "thinking",
    agent_pb2.TOKEN_KIND_REFUSAL: "refusal",
}


@dataclass(frozen=True, slots=True)
class TopLogprob:
    """A token that the model could have written in a place.

    Attributes:
        token: its text; of a part of a character no text that could be joined.
        logprob: natural logarithm of its probability.
        token_bytes: its bytes in UTF-8; None where the provider gives none.
    """

    token: str
    logprob: float
    token_bytes: bytes | None = None


@dataclass(frozen=True, slots=True)
class TokenLogprob(TopLogprob):
    """A token of the reply.

    Attributes:
        top_logprobs: the most likely tokens in its place, as many as were asked for, the most likely first.
        kind: the text that it belongs to: "text", "thinking" or "refusal".
    """

    top_logprobs: tuple[TopLogprob, ...] = ()
    kind: TokenKind = "text"


def to_tokens(messages: Iterable[agent_pb2.TokenLogprob]) -> list[TokenLogprob]:
    """The tokens as callers have them."""
    return [
        TokenLogprob(
            message.token,
            message.logprob,
            message.utf8 or None,
            tuple(TopLogprob(top.token, top.logprob, top.utf8 or None) for top in message.top_logprobs),
            _KINDS.get(message.kind, "text"),
        )
        for message in messages
    ]
