"""The tokens of a reply, with how likely the model held each to be."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

import msgspec

TOKEN_COST = 32
"""The size of a token apart from its text, in characters: its objects, and its fields in a message."""


class TokenKind(Enum):
    """The text of a reply that a token belongs to."""

    TEXT = "text"
    THINKING = "thinking"
    REFUSAL = "refusal"


class TopLogprob(msgspec.Struct, frozen=True, gc=False):
    """A token that the model could have written in a place.

    Attributes:
        token: its text.
        logprob: natural logarithm of its probability.
        token_bytes: its bytes in UTF-8; empty where the provider gives none.
    """

    token: str
    logprob: float
    token_bytes: bytes = b""


class TokenLogprob(msgspec.Struct, frozen=True, gc=False):
    """A token of the reply; as TopLogprob, and the most likely ones in its place, the most likely first."""

    token: str
    logprob: float
    token_bytes: bytes = b""
    top: tuple[TopLogprob, ...] = ()
    kind: TokenKind = TokenKind.TEXT

    @property
    def size(self) -> int:
        """The size of the token and those in its place, in characters."""
        likely = sum(TOKEN_COST + len(each.token) + len(each.token_bytes) for each in self.top)
        return TOKEN_COST + len(self.token) + len(self.token_bytes) + likely


def size_of(tokens: Iterable[TokenLogprob]) -> int:
    """The size of tokens, in characters."""
    return sum(token.size for token in tokens)
