"""The metrics of all processes as one text, each series with the label `process`.

The process with the admin address asks its siblings for their text and puts all of them together. The counts are not
added up: those of a process that was started again begin at zero, which Prometheus knows of one series and not of a
sum. Files that all processes write (the multiprocess mode of prometheus_client) would need no question, but a write to
a file for each count, and could not read a number at the moment at which it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


def text_of(registry: Collector) -> bytes:
    """The metrics of one process, for `united` in another."""
    return generate_latest(registry)


def united(index: int, registry: CollectorRegistry, siblings: Mapping[int, bytes | None]) -> bytes:
    """The text of all processes; see `families_of_all`."""
    return text_of(_Families(families_of_all(index, registry, siblings)))


def families_of_all(index: int, registry: CollectorRegistry, siblings: Mapping[int, bytes | None]) -> list[Metric]:
    """The metrics of all processes.

    Args:
        index: this process.
        registry: its metrics.
        siblings: the text of each other process; None where it does not answer.
    """
    families: dict[str, Metric] = {}
    up = GaugeMetricFamily("headwater_process_up", "Whether the process answers.", labels=("process",))
    up.add_metric((str(index),), 1)
    _add(families, index, registry.collect())
    for sibling, text in siblings.items():
        up.add_metric((str(sibling),), 0 if text is None else 1)
        if text is not None:
            _add(families, sibling, text_string_to_metric_families(text.decode()))
    return [up, *families.values()]


def _add(families: dict[str, Metric], index: int, found: Iterable[Metric]) -> None:
    for metric in found:
        family = families.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
        family.samples += [
            sample._replace(labels={**sample.labels, "process": str(index)}) for sample in metric.samples
        ]


class _Families(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families
