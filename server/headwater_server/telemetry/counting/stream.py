"""A stream as far as it is counted; `streaming.live.LiveStream` is one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from headwater_server.domain.attempts import Attempt
from headwater_server.domain.chunks import FinalChunk, Pace
from headwater_server.domain.costs.prices import Price
from headwater_server.domain.errors import HeadwaterError


class Asked(Protocol):
    """The provider and the model that are asked; see `streaming.answerer.Answerer`."""

    provider: str
    model: str
    tried: Sequence[Attempt]
    price: Price | None


class Stream(Protocol):
    """A stream that is open, or has just ended."""

    @property
    def answerer(self) -> Asked:
        """The provider and the model that are asked."""
        ...

    @property
    def outcome(self) -> FinalChunk | HeadwaterError | None:
        """Its end; None before it, and where its reader left before."""
        ...

    @property
    def first_token_seconds(self) -> float | None:
        """How long it took to its first chunk; None before it."""
        ...

    @property
    def chunk_count(self) -> int:
        """Its chunks so far."""
        ...

    @property
    def pace(self) -> Pace | None:
        """The gaps between its chunks; None before the second."""
        ...
