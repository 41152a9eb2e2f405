"""The values of labels are bounded, whatever callers and providers say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import pytest

from headwater_server.domain.attempts import Attempt
from headwater_server.domain.chunks import FinalChunk, Finish, FinishReason, Pace, StreamStats, Usage
from headwater_server.domain.costs.prices import Price
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.failure import Failure
from headwater_server.domain.workflow import RunStatus
from headwater_server.streaming.answerer import Answerer
from headwater_server.telemetry.counting.labels import MAX_MODELS, MAX_QUEUES
from headwater_server.telemetry.metrics import Metrics
from headwater_server.telemetry.metrics_text import text_of, united

UNAVAILABLE = HeadwaterError(Reason.PROVIDER_UNAVAILABLE, "it is down")


def finished(usage: Usage | None = None) -> FinalChunk:
    return FinalChunk(1, 0.0, Finish(FinishReason.STOP, usage=usage), StreamStats(None, 0.0, 0, None), [])


@dataclass
class FakeStream:
    """A stream, as far as it is counted."""

    answerer: Answerer
    outcome: FinalChunk | HeadwaterError | None
    first_token_seconds: float | None
    chunk_count: int = 0
    pace: Pace | None = None


def stream(
    provider: str = "p",
    model: str = "m",
    end: FinalChunk | HeadwaterError | None = None,
    first_token_seconds: float | None = None,
    tried: Sequence[Attempt] = (),
    price: Price | None = None,
) -> FakeStream:
    answerer = Answerer(provider=provider, model=model, tried=tried, price=price)
    return FakeStream(answerer, end, first_token_seconds)


def labels(metrics: Metrics, name: str, label: str) -> dict[str, float]:
    """The values of a metric by one of its labels."""
    samples = [sample for family in metrics.registry.collect() for sample in family.samples if sample.name == name]
    found: dict[str, float] = {}
    for sample in samples:
        found[sample.labels[label]] = found.get(sample.labels[label], 0) + sample.value
    return found


def models(metrics: Metrics) -> dict[str, float]:
    return labels(metrics, "headwater_streams_ended_total", "model")


def test_a_model_has_a_label_once_it_has_answered():
    metrics = Metrics()
    metrics.stream_ended(stream("openai", "gpt-4o", UNAVAILABLE, None, ()))
    metrics.stream_ended(stream("openai", "gpt-4o", finished(), 0.1, ()))
    metrics.stream_ended(stream("openai", "gpt-4o", UNAVAILABLE, None, ()))
    assert models(metrics) == {"other": 1, "gpt-4o": 2}


@pytest.mark.parametrize("name", ["my secret prompt", "a\nb", 'x"} 1', "m" * 201, "", "é"])
def test_a_model_that_does_not_look_like_a_name_is_other_even_when_it_answers(name):
    metrics = Metrics()
    metrics.stream_ended(stream("openai", name, finished(), 0.1, ()))
    assert models(metrics) == {"other": 1}


def test_a_provider_that_takes_any_name_fills_its_own_labels_and_no_others():
    metrics = Metrics()
    for number in range(500):
        metrics.stream_ended(stream("lenient", f"m{number}", finished(), 0.1, ()))
    metrics.stream_ended(stream("openai", "gpt-4o", finished(), 0.1, ()))
    assert len(models(metrics)) == MAX_MODELS + 2
    assert models(metrics)["other"] == 500 - MAX_MODELS
    assert models(metrics)["gpt-4o"] == 1


def test_tokens_that_were_not_reported_are_not_counted():
    metrics = Metrics()
    metrics.stream_ended(
        stream("p", "m", finished(Usage(input_tokens=5, output_tokens=0, reasoning_tokens=-3)), 0.1, ())
    )
    metrics.stream_ended(stream("p", "m", finished(), 0.1, ()))
    assert labels(metrics, "headwater_tokens_total", "kind") == {"input": 5, "reasoning": 0}


def test_a_failed_attempt_at_the_model_that_then_answers_is_no_fallback():
    metrics, failure = Metrics(), Failure(Reason.PROVIDER_UNAVAILABLE, "down")
    metrics.stream_ended(stream("p", "m", finished(), 0.1, [Attempt("p", "m", failure, 0.1)]))
    metrics.stream_ended(stream("p", "m", UNAVAILABLE, None, [Attempt("q", "n", failure, 0.1)]))
    assert labels(metrics, "headwater_fallbacks_total", "model") == {}
    metrics.stream_ended(stream("p", "m", finished(), 0.1, [Attempt("q", "n", failure, 0.1)]))
    assert labels(metrics, "headwater_fallbacks_total", "model") == {"m": 1}
    assert labels(metrics, "headwater_attempts_failed_total", "provider") == {"p": 1, "q": 2}


def test_a_run_that_is_left_to_the_next_process_has_not_ended():
    metrics = Metrics()
    metrics.run_ended(RunStatus.RUNNING, 1.0)
    metrics.run_ended(RunStatus.FAILED, 2.5)
    assert labels(metrics, "headwater_run_seconds_sum", "status") == {"failed": 2.5}


def test_the_queues_that_have_most_are_named():
    metrics = Metrics()
    queues = {"a prompt": 7, "busy": 1_000, **{f"q{number}": 1 for number in range(500)}}
    metrics.watch_queues("tasks_waiting", "Tasks.", lambda: queues)
    found = labels(metrics, "headwater_tasks_waiting", "queue")
    assert (found["busy"], len(found), sum(found.values())) == (1_000, MAX_QUEUES, 1_507)
    assert "a prompt" not in found


def test_the_series_of_processes_stand_beside_each_other():
    metrics, sibling = Metrics(), Metrics()
    metrics.stream_started(stream())
    sibling.stream_started(stream())
    sibling.stream_started(stream())
    lines = united(0, metrics.registry, {1: text_of(sibling.registry), 2: None}).decode().splitlines()
    assert [line for line in lines if line.startswith(("headwater_streams_started", "headwater_process_up"))] == [
        'headwater_process_up{process="0"} 1.0',
        'headwater_process_up{process="1"} 1.0',
        'headwater_process_up{process="2"} 0.0',
        'headwater_streams_started_total{process="0"} 1.0',
        'headwater_streams_started_total{process="1"} 2.0',
    ]


def test_a_model_that_the_configuration_names_has_a_label_before_it_answers_and_until_it_is_named_no_more():
    metrics = Metrics()
    metrics.models.name([("openai", "gpt-4o"), ("openai", "not a name")])
    metrics.stream_ended(stream("openai", "gpt-4o", UNAVAILABLE))
    metrics.stream_ended(stream("openai", "not a name", UNAVAILABLE))
    metrics.models.name([])
    metrics.stream_ended(stream("openai", "gpt-4o", UNAVAILABLE))
    assert models(metrics) == {"gpt-4o": 1, "other": 2}


def test_chunks_are_counted_while_a_stream_is_open_and_once():
    metrics, one, other = Metrics(), stream(first_token_seconds=0.1), stream("q", "n")
    for each in (one, other):
        metrics.stream_started(each)
    one.chunk_count = 3
    assert labels(metrics, "headwater_chunks_total", "model") == {"m": 3}
    assert labels(metrics, "headwater_streams_open", "provider") == {"p": 1, "q": 1}
    one.chunk_count = 5
    metrics.stream_ended(one)
    assert labels(metrics, "headwater_chunks_total", "model") == {"m": 5}
    assert labels(metrics, "headwater_streams_open", "provider") == {"q": 1}


def test_a_stream_with_two_chunks_or_more_has_gaps():
    metrics, paced = Metrics(), stream(end=finished(), first_token_seconds=0.1)
    metrics.stream_ended(paced)
    paced.pace = Pace(0.25, 2.5)
    metrics.stream_ended(paced)
    assert labels(metrics, "headwater_mean_gap_seconds_sum", "model") == {"m": 0.25}
    assert labels(metrics, "headwater_longest_gap_seconds_sum", "model") == {"m": 2.5}
    assert labels(metrics, "headwater_longest_gap_seconds_count", "model") == {"m": 1}


def test_tokens_and_cost_of_an_attempt_that_was_refused_are_those_of_its_model():
    metrics = Metrics()
    refused, price = Failure(Reason.PROVIDER_REJECTED_REQUEST, "refused"), Price(Decimal("0.1"), Decimal("0.2"))
    tried = [Attempt("q", "n", refused, 0.1, usage=Usage(10, 1), cost=Decimal("0.000003"))]
    for _ in range(10):
        metrics.stream_ended(stream(end=finished(Usage(1, 1)), first_token_seconds=0.1, tried=tried, price=price))
    assert labels(metrics, "headwater_cost_total", "model") == {"m": 0.000003, "n": 0.00003}
    assert labels(metrics, "headwater_tokens_total", "provider") == {"p": 20, "q": 110}


def test_a_model_without_a_price_has_no_cost():
    metrics = Metrics()
    metrics.stream_ended(stream(end=finished(Usage(1, 1))))
    assert labels(metrics, "headwater_cost_total", "model") == {}


def test_circuits_are_counted_by_state_and_unknown_models_together():
    metrics = Metrics()
    metrics.models.name([("p", "m")])
    metrics.watch_circuits(
        lambda: [("p", "m", "open"), ("p", "x", "open"), ("p", "y", "open"), ("p", "m", "half_open")]
    )
    assert labels(metrics, "headwater_circuits", "model") == {"m": 2, "other": 2}
    assert labels(metrics, "headwater_circuits", "state") == {"open": 3, "half_open": 1}


def test_the_longest_lag_of_ten_seconds_is_shown():
    metrics = Metrics()
    for late in (0.5, *[0.01] * 99):
        metrics.loop_was_late(late)
    assert value(metrics, "headwater_loop_lag_recent_seconds") == 0.5
    metrics.loop_was_late(-0.01)
    assert value(metrics, "headwater_loop_lag_recent_seconds") == 0.01


def value(metrics: Metrics, name: str) -> float | None:
    return metrics.registry.get_sample_value(name)
