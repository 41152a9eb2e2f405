"""The cost of a reply: prices per million tokens, multiplied exactly.

Theory of operation. Prices are decimal numbers without a currency: all of a table are in the same one. A price times a
count, divided by a million, is a decimal number again, so no step rounds and sums do not drift.

The counts of a provider overlap, and each token is paid once:

- Input from a cache, and input written to one, have their own prices. OpenAI counts both within `input_tokens`,
  Anthropic beside it. `total_tokens` tells which: it is all input, cached or not, plus output.
- Thinking is a part of the output. A count of thinking above the count of output can only stand beside it.

Example. A million tokens of input cost 2.5, from the cache 1.25, of output 10. A reply with 1,000 tokens of input, 400
of them from the cache, and 100 of output costs (600 * 2.5 + 400 * 1.25 + 100 * 10) / 1,000,000 = 0.003.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from headwater_server.domain.chunks import Usage
from headwater_server.domain.costs.amounts import EXACT

MAX_COUNT = 2**31 - 1
"""Tokens of one kind that are paid for; a greater count makes no sense."""
ANY = "*"
"""Ends a key of prices that holds for all models whose names begin so."""

_MILLION = 6
"""The zeros of the number of tokens that a price is for."""


@dataclass(frozen=True, slots=True)
class Price:
    """The prices of a model per million tokens, each at least 0.

    Attributes:
        input: of input that neither came from a cache nor was written to one.
        output: of output.
        cached_input: of input from the provider's cache; None: as `input`.
        cache_write: of input that is written there; None: as `input`.
        reasoning: of thinking; None: as `output`.
    """

    input: Decimal
    output: Decimal
    cached_input: Decimal | None = None
    cache_write: Decimal | None = None
    reasoning: Decimal | None = None

    def cost(self, usage: Usage) -> Decimal:
        """The cost of a reply with these counts; a count that was not reported costs nothing."""
        fresh, cached, written = _input(usage)
        output, reasoning = _count(usage.output_tokens), _count(usage.reasoning_tokens)
        visible = output - reasoning if reasoning <= output else output
        parts = (
            (self.input, fresh),
            (self.input if self.cached_input is None else self.cached_input, cached),
            (self.input if self.cache_write is None else self.cache_write, written),
            (self.output, visible),
            (self.output if self.reasoning is None else self.reasoning, reasoning),
        )
        total = Decimal(0)
        for price, count in parts:
            if count:
                total = EXACT.fma(price, Decimal(count), total)
        return EXACT.scaleb(total, -_MILLION)


def _input(usage: Usage) -> tuple[int, int, int]:
    """Tokens of input: those that no cache has to do with, those from a cache, those written to one."""
    given, cached, written = map(_count, (usage.input_tokens, usage.cached_input_tokens, usage.cache_write_tokens))
    beside = given + cached + written + _count(usage.output_tokens)
    if usage.total_tokens == beside or cached + written > given:
        return given, cached, written
    return given - cached - written, cached, written


def _count(count: int | None) -> int:
    return max(0, min(count or 0, MAX_COUNT))


class PriceTable:
    """The prices of models.

    Args:
        prices: by `PROVIDER/MODEL`, or by the beginning of that and `*`. The whole name comes first, then the longest
            beginning.
    """

    def __init__(self, prices: Mapping[str, Price] | None = None) -> None:
        self._exact = {key: price for key, price in (prices or {}).items() if not key.endswith(ANY)}
        patterns = [(key.removesuffix(ANY), price) for key, price in (prices or {}).items() if key.endswith(ANY)]
        self._patterns = sorted(patterns, key=lambda pattern: len(pattern[0]), reverse=True)

    @property
    def models(self) -> list[tuple[str, str]]:
        """The providers and models that have a price by their whole name."""
        return [(provider, model) for provider, _, model in (key.partition("/") for key in self._exact)]

    def of(self, provider: str, model: str) -> Price | None:
        """The price of a model; None where it has none."""
        name = f"{provider}/{model}"
        if (price := self._exact.get(name)) is not None:
            return price
        for start, price in self._patterns:
            if name.startswith(start):
                return price
        return None


NO_PRICES = PriceTable()
