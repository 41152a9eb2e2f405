"""Costs are exact, and each token is paid once, in whichever way its provider counts."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from headwater_server.domain.chunks import Usage
from headwater_server.domain.costs.amounts import cost_text, total_cost
from headwater_server.domain.costs.prices import MAX_COUNT, Price, PriceTable

PRICES = st.decimals(min_value=0, max_value=1_000_000, places=9, allow_nan=False, allow_infinity=False)
COUNTS = st.integers(0, 10**6) | st.integers(0, MAX_COUNT // 3)
COSTS = st.lists(st.decimals(min_value=0, max_value=10**10, places=15), max_size=20)
SOME = Price(Decimal("2.5"), Decimal(10), Decimal("1.25"), Decimal("3.125"), Decimal(12))


@given(PRICES, PRICES, PRICES, PRICES, PRICES, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS)
def test_a_cost_is_the_exact_sum_of_its_parts(
    price, output_price, cached_price, written_price, thinking_price, fresh, cached, written, visible, thinking
):
    usage = Usage(
        fresh + cached + written, visible + thinking, None, cached, written, thinking
    )  # as OpenAI counts: all input, all output
    each = Price(price, output_price, cached_price, written_price, thinking_price)
    assume(max(fresh + cached + written, visible + thinking) <= MAX_COUNT)
    paid = [
        (price, fresh),
        (cached_price, cached),
        (written_price, written),
        (output_price, visible),
        (thinking_price, thinking),
    ]
    wanted = sum(Fraction(one) * count for one, count in paid) / 1_000_000
    assert Fraction(each.cost(usage)) == wanted
    assert Fraction(cost_text(each.cost(usage))) == wanted


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_input_beside_the_caches_and_input_with_them_cost_the_same(fresh, cached, written, output):
    all_input = fresh + cached + written
    with_them = Usage(all_input, output, all_input + output, cached, written)
    beside = Usage(fresh, output, all_input + output, cached, written)
    assert SOME.cost(with_them) == SOME.cost(beside)


@given(st.integers(min_value=-(10**30), max_value=10**30) | st.none())
def test_no_count_of_a_provider_makes_a_cost_negative_or_without_end(count):
    cost = SOME.cost(Usage(count, count, count, count, count, count))
    assert 0 <= cost <= 5 * MAX_COUNT * 12


@given(COSTS)
def test_sums_do_not_drift(costs):
    assert Fraction(total_cost(costs)) == sum(map(Fraction, costs), Fraction())
    assert total_cost(costs) == total_cost(costs[::-1])


def test_a_price_that_is_not_set_is_that_of_the_kind_around_it():
    price = Price(Decimal(2), Decimal(8))
    assert price.cost(Usage(1_000_000, 500_000, 1_500_000, 400_000, 100_000, 200_000)) == 6


def test_thinking_beside_the_output_is_paid_too():
    assert SOME.cost(Usage(output_tokens=100, reasoning_tokens=400)) == Decimal("0.0058")


@pytest.mark.parametrize(
    ("cost", "text"),
    [("0", "0"), ("0E-9", "0"), ("0.0030", "0.003"), ("1E-12", "0.000000000001"), ("100", "100"), ("1E+3", "1000")],
)
def test_a_cost_as_text_has_neither_exponent_nor_idle_zeros(cost, text):
    assert cost_text(Decimal(cost)) == text


def test_a_whole_name_comes_before_patterns_and_long_patterns_before_short_ones():
    names = ["*", "openai/*", "openai/gpt-4o*", "openai/gpt-4o-mini"]
    prices = {name: Price(Decimal(number), Decimal(0)) for number, name in enumerate(names)}
    table = PriceTable(prices)
    asked = ["ollama/gpt-4o-mini", "openai/o3", "openai/gpt-4o-mini-2", "openai/gpt-4o-mini"]
    found = [table.of(*name.split("/")) for name in asked]
    assert found == [prices[name] for name in names]
    assert PriceTable().of("openai", "o3") is None
    assert table.models == [("openai", "gpt-4o-mini")]
