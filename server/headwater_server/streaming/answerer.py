"""Who answers a stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headwater_server.domain.attempts import Attempt
from headwater_server.streaming.accumulator import Account


@dataclass(slots=True)
class Answerer(Account):
    """Who answers a stream. It may change until the stream has its first chunk, and stays then.

    Attributes:
        model: the model that is asked, by the provider's own name.
        dropped: the parameters of the request that the model does not take.
        next_chunk_seconds: how long the provider may be silent between two chunks.
        tried: the attempts that failed before.
    """

    model: str = ""
    dropped: Sequence[str] = ()
    next_chunk_seconds: float = 120.0
    tried: Sequence[Attempt] = ()
