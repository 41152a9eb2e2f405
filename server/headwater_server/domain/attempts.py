"""Attempts at a reply that came to nothing."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from headwater_server.domain.chunks import Usage
from headwater_server.domain.failure import Failure


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt that failed before the first chunk.

    Attributes:
        provider: name of the provider that was asked.
        model: the model, by the provider's own name.
        failure: why it failed.
        duration_seconds: from the question to the failure.
        wait_seconds: how long was waited before the next attempt.
        usage: its tokens, where the provider reported them all the same.
        cost: of these; None where the model has no price.
    """

    provider: str
    model: str
    failure: Failure
    duration_seconds: float
    wait_seconds: float = 0.0
    usage: Usage | None = None
    cost: Decimal | None = None
