"""The metrics of this process, as Prometheus reads them.

Theory of operation. A thing is counted when it ends: a stream with all that it took, a run, an attempt of a step. So
nothing runs here for a chunk: the stream counts its chunks anyway, and keeps the longest gap between two. The counts
are plain numbers, which become metrics when these are asked for, on a thread (`counting.readings`). The numbers of
this moment are read then: the streams that are open, and the chunks that they have had so far.

The values of labels are bounded. Most come from lists in the code. A provider has its name in the configuration. The
name of a model comes from callers, who can make up any: it is shown once the model has answered, or when the
configuration names it (`counting.labels`). So is a queue that is among those with most.

Example. A caller asks `openai` for `gpt-4o`, and it answers: its streams have `model="gpt-4o"` from then on. Another
asks for `my secret`, which the provider refuses: that stream ended with `model="other"`, `reason="MODEL_NOT_FOUND"`.
"""

from __future__ import annotations

import threading
from collections import Counter as Counts
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal

from prometheus_client import CollectorRegistry, Gauge, ProcessCollector
from prometheus_client.registry import Collector

from headwater_server.domain.chunks import FinalChunk, Usage
from headwater_server.domain.costs.amounts import total_cost
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.workflow import RunStatus
from headwater_server.telemetry.counting.histogram import Histogram
from headwater_server.telemetry.counting.labels import ModelLabels, queue_labels
from headwater_server.telemetry.counting.readings import Labels, ReadCounter, ReadGauge, Readings
from headwater_server.telemetry.counting.stream import Stream

LEFT = "left"
"""The reason of a stream whose reader left before its end."""
RECENT_LAGS = 100
"""Of so many measurements, ten seconds, the longest lag of the loop is shown."""

_MODEL = ("provider", "model")
_FIRST_TOKEN_BUCKETS = (0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1, 1.5, 2.5, 5, 10, 30, 60, 300)
_GAP_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 120)
_RUN_BUCKETS = (0.1, 0.5, 1, 5, 15, 60, 300, 1_800, 7_200, 86_400)
_LAG_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)


class Metrics:
    """Counts what happens in this process.

    Attributes:
        registry: has all metrics.
        models: the labels of models.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.models = ModelLabels()
        self._lock = threading.Lock()
        self._open: dict[int, Stream] = {}
        self._chunks: Counts[Labels] = Counts()
        self._costs: dict[Labels, Decimal] = {}
        self._lags: deque[float] = deque(maxlen=RECENT_LAGS)
        ProcessCollector(registry=self.registry)
        self._started = self._counter("streams_started", "Streams that were opened.")
        self._ended = self._counter("streams_ended", "Streams that have ended.", *_MODEL, "reason")
        self._first_token = self._histogram(
            "first_token", "From the opened stream to its first chunk.", _FIRST_TOKEN_BUCKETS, *_MODEL
        )
        self._mean_gap = self._histogram("mean_gap", "Mean time between two chunks of a stream.", _GAP_BUCKETS, *_MODEL)
        self._longest_gap = self._histogram(
            "longest_gap", "Longest time between two chunks of a stream.", _GAP_BUCKETS, *_MODEL
        )
        self._tokens = self._counter("tokens", "Tokens as providers report them.", *_MODEL, "kind")
        self._failed = self._counter(
            "attempts_failed", "Attempts that failed and were followed by another.", *_MODEL, "reason"
        )
        self._fallbacks = self._counter(
            "fallbacks", "Streams that were answered by another model than the first one.", *_MODEL
        )
        self._calls = self._counter("calls_failed", "Calls that ended with an error.", "method", "reason")
        self._resumes = self._counter("resumes", "Calls of ResumeStream.", "outcome")
        self._runs_ended = self._histogram("run", "Runs of workflows, from start to end.", _RUN_BUCKETS, "status")
        self._steps = self._counter("step_attempts", "Attempts of steps that have ended.", "outcome")
        self._lag = self._histogram("loop_lag", "How late the event loop was, ten times a second.", _LAG_BUCKETS)
        self.watch("loop_lag_recent_seconds", "The longest in ten seconds.", lambda: max([*self._lags], default=0.0))
        self.watch_labels("streams_open", "Streams that are open.", _MODEL, self._open_streams)
        self._register(ReadCounter("headwater_chunks", "Chunks of providers.", _MODEL, self._all_chunks))
        self._register(ReadCounter("headwater_cost", "Cost, by the table of prices.", _MODEL, self._costs.copy))

    def _counter(self, name: str, text: str, *labels: str) -> defaultdict[Labels, int]:
        counts: defaultdict[Labels, int] = defaultdict(int)
        if not labels:
            counts[()] = 0
        self._register(ReadCounter(f"headwater_{name}", text, labels, counts.copy))
        return counts

    def _histogram(self, name: str, text: str, bounds: tuple[float, ...], *labels: str) -> Histogram:
        histogram = Histogram(f"headwater_{name}_seconds", text, bounds, labels)
        self._register(histogram)
        return histogram

    def _register(self, collector: Collector) -> None:
        self.registry.register(collector)

    def watch(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Adds a number that is read, on a thread, when the metrics are asked for."""
        Gauge(f"headwater_{name}", text, registry=self.registry).set_function(read)

    def watch_labels(self, name: str, text: str, labels: tuple[str, ...], read: Readings) -> None:
        """Likewise for numbers by labels, whose values the caller bounds."""
        self._register(ReadGauge(f"headwater_{name}", text, labels, read))

    def watch_queues(self, name: str, text: str, read: Callable[[], Mapping[str, int]]) -> None:
        """Likewise for numbers by queue, of which those that have most are shown."""
        self.watch_labels(
            name, text, ("queue",), lambda: {(queue,): count for queue, count in queue_labels(read()).items()}
        )

    def watch_circuits(self, read: Callable[[], Iterable[tuple[str, str, str]]]) -> None:
        """Likewise for circuits that are not closed: of each the provider, the model and the state."""

        def count() -> Counts[Labels]:
            return Counts((*self.models.of(name, model, has_answered=False), state) for name, model, state in read())

        text = "Models at an address that failed and are passed over, or probed."
        self.watch_labels("circuits", text, (*_MODEL, "state"), count)

    def stream_started(self, stream: Stream) -> None:
        """A stream was opened."""
        self._started[()] += 1
        self._open[id(stream)] = stream

    def stream_ended(self, stream: Stream) -> None:
        """A stream has ended."""
        asked, end, first_token_seconds = stream.answerer, stream.outcome, stream.first_token_seconds
        finish = end.finish if isinstance(end, FinalChunk) else None
        has_answered = first_token_seconds is not None or finish is not None
        labels = self.models.of(asked.provider, asked.model, has_answered=has_answered)
        with self._lock:
            self._open.pop(id(stream), None)
            self._chunks[labels] += stream.chunk_count
        failed = end.reason if isinstance(end, HeadwaterError) else LEFT
        self._ended[*labels, failed if finish is None else finish.reason] += 1
        if first_token_seconds is not None:
            self._first_token.count(labels, first_token_seconds)
        if (pace := stream.pace) is not None:
            self._mean_gap.count(labels, pace.mean_gap_seconds)
            self._longest_gap.count(labels, pace.longest_gap_seconds)
        if finish is not None and (usage := finish.usage) is not None:
            self._spent(labels, usage, asked.price.cost(usage) if asked.price else None)
        for attempt in asked.tried:
            tried = self.models.of(attempt.provider, attempt.model, has_answered=attempt.usage is not None)
            self._failed[*tried, attempt.failure.reason.value] += 1
            if attempt.usage is not None:
                self._spent(tried, attempt.usage, attempt.cost)
        if has_answered and asked.tried:
            first = asked.tried[0]
            if (first.provider, first.model) != (asked.provider, asked.model):
                self._fallbacks[labels] += 1

    def _spent(self, labels: Labels, usage: Usage, cost: Decimal | None) -> None:
        """Counts the tokens of an attempt, and their cost where that is known."""
        provider, model = labels
        for kind, count in (
            ("input", usage.input_tokens),
            ("output", usage.output_tokens),
            ("cached_input", usage.cached_input_tokens),
            ("cache_write", usage.cache_write_tokens),
            ("reasoning", usage.reasoning_tokens),
        ):
            if count:
                self._tokens[provider, model, kind] += max(count, 0)
        if cost is not None:
            self._costs[labels] = total_cost([self._costs.get(labels, Decimal(0)), cost])

    def _labels_of(self, stream: Stream) -> Labels:
        asked = stream.answerer
        return self.models.of(asked.provider, asked.model, has_answered=stream.first_token_seconds is not None)

    def _open_streams(self) -> Counts[Labels]:
        return Counts(map(self._labels_of, list(self._open.values())))

    def _all_chunks(self) -> Counts[Labels]:
        with self._lock:  # a stream that ends now is counted once, here or among those that are open
            streams, chunks = list(self._open.values()), self._chunks.copy()
        for stream in streams:
            if count := stream.chunk_count:
                chunks[self._labels_of(stream)] += count
        return chunks

    def call_failed(self, method: str, reason: Reason) -> None:
        """A call has ended with an error of this process."""
        self._calls[method, reason.value] += 1

    def resumed(self, outcome: str) -> None:
        """A stream was resumed, or was not: `resumed`, or the reason of the error."""
        self._resumes[(outcome,)] += 1

    def run_ended(self, status: RunStatus, seconds: float) -> None:
        """A run is no longer driven here; one that still runs is left to the next process, and has not ended.

        `seconds`: since its start.
        """
        if status is not RunStatus.RUNNING:
            self._runs_ended.count((status.value,), max(seconds, 0.0))

    def step_ended(self, outcome: str) -> None:
        """An attempt of a step has ended: `completed`, `cancelled`, or the reason of its failure."""
        self._steps[(outcome,)] += 1

    def loop_was_late(self, seconds: float) -> None:
        """The event loop was so late."""
        lag = max(seconds, 0.0)
        self._lag.count((), lag)
        self._lags.append(lag)
