"""The metrics of this process, as Prometheus reads them.

Theory of operation. A thing is counted when it ends: a stream with all that it took, a run, an attempt of a step. So
nothing runs for a chunk. The numbers of this moment, such as the streams that are open, are read when they are asked
for, on a thread, and what is read then is safe for that: the length of a dict, or a copy of it.

The values of labels are bounded. Most come from lists in the code. A provider has its name in the configuration. The
name of a model comes from callers, who can make up any: it is shown once the model has answered, where it looks like a
name and is among the first MAX_MODELS of its provider. Any other is `other`. So is a queue beyond the MAX_QUEUES that
have most.

Example. A caller asks `openai` for `gpt-4o`, and it answers: its streams have `model="gpt-4o"` from then on. Another
asks for `my secret`, which the provider refuses: that stream ended with `model="other"`, `reason="MODEL_NOT_FOUND"`.
"""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Callable, Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from headwater_server.domain.attempts import Attempt
from headwater_server.domain.chunks import FinalChunk, Usage
from headwater_server.domain.errors import HeadwaterError
from headwater_server.domain.names import looks_like_name
from headwater_server.domain.workflow import RunStatus

MAX_MODELS = 50
"""The models of a provider that have labels."""
MAX_QUEUES = 50
OTHER = "other"
LEFT = "left"
"""The reason of a stream whose reader left before its end."""

_FIRST_TOKEN_BUCKETS = (0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1, 1.5, 2.5, 5, 10, 30, 60, 300)
_LAG_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
_KINDS = {
    "input": "input_tokens",
    "output": "output_tokens",
    "cached_input": "cached_input_tokens",
    "cache_write": "cache_write_tokens",
    "reasoning": "reasoning_tokens",
}

disable_created_metrics()  # type: ignore[no-untyped-call]  # the times of the first counts would double the series


class Metrics:
    """Counts what happens in this process.

    Attributes:
        registry: has all metrics.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._models: dict[str, set[str]] = {}
        ProcessCollector(registry=self.registry)
        self._started = self._counter("streams_started", "Streams that were opened.")
        self._ended = self._counter("streams_ended", "Streams that have ended.", "provider", "model", "reason")
        self._first_token = Histogram(
            "headwater_first_token_seconds",
            "From the opened stream to its first chunk.",
            ("provider", "model"),
            registry=self.registry,
            buckets=_FIRST_TOKEN_BUCKETS,
        )
        self._tokens = self._counter("tokens", "Tokens as providers report them.", "provider", "model", "kind")
        self._failed = self._counter(
            "attempts_failed", "Attempts that failed and were followed by another.", "provider", "model", "reason"
        )
        self._fallbacks = self._counter(
            "fallbacks", "Streams that were answered by another model than the first one.", "provider", "model"
        )
        self._resumes = self._counter("resumes", "Calls of ResumeStream.", "outcome")
        self._runs_ended = self._counter("runs_ended", "Runs of workflows that have ended.", "status")
        self._steps = self._counter("step_attempts", "Attempts of steps that have ended.", "outcome")
        self._lag = Histogram(
            "headwater_loop_lag_seconds",
            "How late the event loop was, ten times a second.",
            registry=self.registry,
            buckets=_LAG_BUCKETS,
        )

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"headwater_{name}", text, labels, registry=self.registry)

    def watch(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Adds a number that is read, on a thread, when the metrics are asked for."""
        Gauge(f"headwater_{name}", text, registry=self.registry).set_function(read)

    def watch_queues(self, name: str, text: str, read: Callable[[], Mapping[str, int]]) -> None:
        """Likewise for numbers by queue."""
        self.registry.register(_Queues(f"headwater_{name}", text, read))

    def stream_started(self) -> None:
        """A stream was opened."""
        self._started.inc()

    def stream_ended(
        self,
        provider: str,
        model: str,
        end: FinalChunk | HeadwaterError | None,
        first_token_seconds: float | None,
        tried: Sequence[Attempt],
    ) -> None:
        """A stream has ended.

        Args:
            provider: the one that was asked last.
            model: likewise.
            end: its end; None when its reader left before.
            first_token_seconds: how long it took to its first chunk; None where there was none.
            tried: the attempts that failed before.
        """
        has_answered = first_token_seconds is not None or isinstance(end, FinalChunk)
        model_label = self._model(provider, model, has_answered=has_answered)
        self._ended.labels(provider, model_label, _reason(end)).inc()
        if first_token_seconds is not None:
            self._first_token.labels(provider, model_label).observe(first_token_seconds)
        if isinstance(end, FinalChunk) and end.finish.usage is not None:
            self._count_tokens(provider, model_label, end.finish.usage)
        for attempt in tried:
            name = self._model(attempt.provider, attempt.model, has_answered=False)
            self._failed.labels(attempt.provider, name, attempt.failure.reason.value).inc()
        if has_answered and tried and (tried[0].provider, tried[0].model) != (provider, model):
            self._fallbacks.labels(provider, model_label).inc()

    def _count_tokens(self, provider: str, model: str, usage: Usage) -> None:
        for kind, name in _KINDS.items():
            if count := getattr(usage, name):
                self._tokens.labels(provider, model, kind).inc(max(count, 0))

    def _model(self, provider: str, model: str, *, has_answered: bool) -> str:
        """The label of a model."""
        known = self._models.setdefault(provider, set())
        if has_answered and len(known) < MAX_MODELS and looks_like_name(model):
            known.add(model)
        return model if model in known else OTHER

    def resumed(self, outcome: str) -> None:
        """A stream was resumed, or was not: `resumed`, or the reason of the error."""
        self._resumes.labels(outcome).inc()

    def run_ended(self, status: RunStatus) -> None:
        """A run is no longer driven here; one that still runs is left to the next process, and has not ended."""
        if status is not RunStatus.RUNNING:
            self._runs_ended.labels(status.value).inc()

    def step_ended(self, outcome: str) -> None:
        """An attempt of a step has ended: `completed`, `cancelled`, or the reason of its failure."""
        self._steps.labels(outcome).inc()

    def loop_was_late(self, seconds: float) -> None:
        """The event loop was so late."""
        self._lag.observe(max(seconds, 0.0))


def _reason(end: FinalChunk | HeadwaterError | None) -> str:
    if end is None:
        return LEFT
    return end.finish.reason.value if isinstance(end, FinalChunk) else end.reason.value


class _Queues(Collector):
    """One number for each queue."""

    def __init__(self, name: str, text: str, read: Callable[[], Mapping[str, int]]) -> None:
        self._name, self._text, self._read = name, text, read

    def describe(self) -> Iterable[Metric]:
        yield GaugeMetricFamily(self._name, self._text, labels=("queue",))

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(self._name, self._text, labels=("queue",))
        shown: Counts[str] = Counts()
        for place, (queue, count) in enumerate(Counts(self._read()).most_common()):
            shown[queue if place < MAX_QUEUES and looks_like_name(queue) else OTHER] += count
        for queue, count in shown.items():
            family.add_metric((queue,), count)
        yield family
