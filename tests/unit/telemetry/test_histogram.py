"""A histogram of plain numbers reads as that of prometheus_client does."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client import Histogram as ReferenceHistogram

from headwater_server.telemetry.counting.histogram import Histogram
from headwater_server.telemetry.metrics_text import text_of

BOUNDS = (0.005, 0.1, 1, 60)
VALUES = (0.0, 0.005, 0.0051, 0.1, 0.3, 1, 59.9, 60, 61, 1e9)


@pytest.mark.parametrize("labels", [(), ("openai", 'a "model"')])
@pytest.mark.parametrize("values", [(), VALUES, VALUES[4:5]])
def test_its_text_is_that_of_prometheus_client(labels, values):
    names = ("provider", "model")[: len(labels)]
    registry, reference_registry = CollectorRegistry(), CollectorRegistry()
    histogram = Histogram("gap_seconds", "A gap.", BOUNDS, names)
    registry.register(histogram)
    reference = ReferenceHistogram("gap_seconds", "A gap.", names, registry=reference_registry, buckets=BOUNDS)
    for value in values:
        histogram.count(labels, value)
        (reference.labels(*labels) if labels else reference).observe(value)
    created = b"gap_seconds_created"  # the time of the first count, which would double the series
    expected = [line for line in text_of(reference_registry).splitlines() if created not in line]
    assert text_of(registry).splitlines() == expected
