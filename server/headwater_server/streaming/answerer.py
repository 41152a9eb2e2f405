"""The provider and the model that answer a stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from headwater_server.domain.attempts import Attempt
from headwater_server.domain.chunks import Usage
from headwater_server.domain.costs.amounts import total_cost
from headwater_server.domain.costs.prices import Price
from headwater_server.streaming.accumulator import Account
from headwater_server.telemetry.tracing.spans import AttemptSpan


@dataclass(frozen=True, slots=True)
class Timeouts:
    """The limits of a stream in time, in seconds.

    Attributes:
        first_chunk_seconds: how long the provider may send no delta at first.
        next_chunk_seconds: how long it may be silent between two.
        max_silence_seconds: how long it may send no delta between two, though it gives signs of life.
        total_seconds: from the accepted request to the end.
    """

    first_chunk_seconds: float = 300.0
    next_chunk_seconds: float = 120.0
    max_silence_seconds: float = 600.0
    total_seconds: float = 3_600.0


DEFAULT_TIMEOUTS = Timeouts()


class Answerer(Account):
    """The provider and the model that answer a stream. They may change until its first chunk, and stay then.

    Attributes:
        model: the model that is asked, by the provider's own name.
        dropped: the parameters of the request that the model does not take.
        timeouts: the limits of the reply in time.
        tried: the attempts that failed before.
        span: that of the attempt under way; None where there are no traces.
        price: of the model; None: it has none.
    """

    model: str = ""
    dropped: Sequence[str] = ()
    timeouts: Timeouts = DEFAULT_TIMEOUTS
    tried: Sequence[Attempt] = ()
    span: AttemptSpan | None = None
    price: Price | None = None

    def cost(self, usage: Usage | None) -> Decimal | None:
        """The cost of a reply with this usage, and of the attempts before it whose usage is known.

        None where one of these has no price: a part of the cost would look like all of it.
        """
        if self.price is None or usage is None:
            return None
        costs = [self.price.cost(usage)]
        for attempt in self.tried:
            if attempt.usage is not None:
                if attempt.cost is None:
                    return None
                costs.append(attempt.cost)
        return total_cost(costs)
