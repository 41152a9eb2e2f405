"""A histogram as plain numbers, which become a metric when the metrics are asked for.

That of prometheus_client keeps an object with a lock for each bucket, and takes ten times as long to count a value.

Example. The bounds are 0.1 and 1. The values 0.05, 1 and 7 of the series `("openai",)` are `[1, 1, 1, 8.05]`: one up to
each bound, one above them, and the sum.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable

from prometheus_client.metrics_core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from headwater_server.telemetry.counting.readings import Labels


class Histogram(Collector):
    """How many values were how large, by labels. One thread counts, any may read.

    Args:
        name, text: of the metric.
        bounds: the greatest values of the buckets, in order; that of the last one, infinity, is left out.
        names: of the labels.
    """

    def __init__(self, name: str, text: str, bounds: tuple[float, ...], names: tuple[str, ...]) -> None:
        self._name, self._text, self._names = name, text, names
        self._bounds = (*bounds, math.inf)
        self._series: dict[Labels, list[float]] = {}  # the counts of the buckets, and the sum
        if not names:
            self._begin(())

    def _begin(self, labels: Labels) -> list[float]:
        series = self._series[labels] = [0] * (len(self._bounds) + 1)
        return series

    def count(self, labels: Labels, value: float) -> None:
        """Counts a value of a series."""
        series = self._series.get(labels) or self._begin(labels)
        series[bisect_left(self._bounds, value)] += 1
        series[-1] += value

    def _family(self) -> HistogramMetricFamily:
        return HistogramMetricFamily(self._name, self._text, labels=self._names)

    def describe(self) -> Iterable[Metric]:
        """See Collector."""
        yield self._family()

    def collect(self) -> Iterable[Metric]:
        """See Collector."""
        family = self._family()
        for labels, series in self._series.copy().items():
            *counts, total = series
            buckets, so_far = [], 0.0
            for bound, number in zip(self._bounds, counts, strict=True):
                so_far += number
                buckets.append((floatToGoString(bound), so_far))  # type: ignore[no-untyped-call]
            family.add_metric(labels, buckets, total)
        yield family
