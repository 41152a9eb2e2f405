"""Amounts of money without a currency: decimal numbers, whose sums and products are exact."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Context, Decimal

EXACT = Context(prec=60)
"""More digits than any cost has."""


def total_cost(costs: Iterable[Decimal]) -> Decimal:
    """The sum."""
    total = Decimal(0)
    for cost in costs:
        total = EXACT.add(total, cost)
    return total


def cost_text(cost: Decimal) -> str:
    """A cost as text, without an exponent and without zeros at its end, such as `0.000123`."""
    text = f"{cost:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
