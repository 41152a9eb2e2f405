from __future__ import annotations

import pytest

from benchmarks.load.wire import Order, stamps
from benchmarks.samples import added_gaps, ages, percentile, spread


def text(*written: int) -> str:
    return "".join(f"{stamp:012d} " for stamp in written)


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.0, 1)])
def test_a_percentile_is_a_value_that_was_measured(share, value):
    assert percentile(list(range(100, 0, -1)), share) == value


def test_no_values_have_no_percentile():
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_a_delay_that_stays_the_same_adds_nothing_to_the_gaps():
    assert list(added_gaps([(1_500, text(1_000)), (2_500, text(2_000)), (3_500, text(3_000))])) == [0, 0]


def test_a_chunk_that_is_held_back_lengthens_its_gap():
    assert list(added_gaps([(1_000, text(1_000)), (2_400, text(2_000)), (3_000, text(3_000))])) == [400, -400]


def test_deltas_of_a_merged_chunk_are_read_at_one_moment():
    assert list(added_gaps([(1_000, text(1_000)), (4_000, text(2_000, 3_000))])) == [2_000, -1_000]
    assert list(ages([(4_000, text(2_000, 3_000))])) == [2_000, 1_000]


def test_the_spread_is_median_and_extremes():
    assert spread([3.0, 1.0, 2.0]) == {"median": 2.0, "min": 1.0, "max": 3.0}


def test_half_a_stamp_is_an_error():
    with pytest.raises(ValueError, match="whole number of stamps"):
        stamps(text(1)[:-1])


@pytest.mark.parametrize("order", [Order(), Order(20.0, 100), Order(seconds=1.5)])
def test_an_order_survives_its_prompt(order):
    assert Order.parse(order.prompt.encode()) == order
