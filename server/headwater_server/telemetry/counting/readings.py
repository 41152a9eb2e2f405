"""Numbers that are read, on a thread, when the metrics are asked for.

The reading is safe for that: it takes the length of a dict, or a copy of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import TypeAlias

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

Labels: TypeAlias = tuple[str, ...]
"""The values of the labels of a series, in the order of their names."""
Readings: TypeAlias = Callable[[], Mapping[Labels, float | Decimal]]


class _Read(Collector):
    def __init__(self, names: tuple[str, ...], read: Readings) -> None:
        self._names, self._read = names, read

    def _family(self) -> GaugeMetricFamily | CounterMetricFamily:
        raise NotImplementedError

    def describe(self) -> Iterable[Metric]:
        yield self._family()

    def collect(self) -> Iterable[Metric]:
        family = self._family()
        for labels, value in self._read().items():
            family.add_metric(labels, float(value))
        yield family


class ReadGauge(_Read):
    """Numbers of this moment, by labels.

    Args:
        name, text: of the metric.
        names: of the labels.
        read: the numbers.
    """

    def __init__(self, name: str, text: str, names: tuple[str, ...], read: Readings) -> None:
        super().__init__(names, read)
        self._name, self._text = name, text

    def _family(self) -> GaugeMetricFamily:
        return GaugeMetricFamily(self._name, self._text, labels=self._names)


class ReadCounter(ReadGauge):
    """Sums that only rise, by labels; `read` gives them as exactly as they are kept."""

    def _family(self) -> CounterMetricFamily:  # type: ignore[override]
        return CounterMetricFamily(self._name, self._text, labels=self._names)
