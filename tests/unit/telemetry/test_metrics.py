"""The values of labels are bounded, whatever callers and providers say."""

from __future__ import annotations

import pytest

from headwater_server.domain.attempts import Attempt
from headwater_server.domain.chunks import FinalChunk, Finish, FinishReason, StreamStats, Usage
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.failure import Failure
from headwater_server.domain.workflow import RunStatus
from headwater_server.telemetry.metrics import MAX_MODELS, MAX_QUEUES, Metrics
from headwater_server.telemetry.metrics_text import text_of, united

UNAVAILABLE = HeadwaterError(Reason.PROVIDER_UNAVAILABLE, "it is down")


def finished(usage: Usage | None = None) -> FinalChunk:
    return FinalChunk(1, 0.0, Finish(FinishReason.STOP, usage=usage), StreamStats(None, 0.0, 0, None), [])


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
    metrics.stream_ended("openai", "gpt-4o", UNAVAILABLE, None, ())
    metrics.stream_ended("openai", "gpt-4o", finished(), 0.1, ())
    metrics.stream_ended("openai", "gpt-4o", UNAVAILABLE, None, ())
    assert models(metrics) == {"other": 1, "gpt-4o": 2}


@pytest.mark.parametrize("name", ["my secret prompt", "a\nb", 'x"} 1', "m" * 201, "", "é"])
def test_a_model_that_does_not_look_like_a_name_is_other_even_when_it_answers(name):
    metrics = Metrics()
    metrics.stream_ended("openai", name, finished(), 0.1, ())
    assert models(metrics) == {"other": 1}


def test_a_provider_that_takes_any_name_fills_its_own_labels_and_no_others():
    metrics = Metrics()
    for number in range(500):
        metrics.stream_ended("lenient", f"m{number}", finished(), 0.1, ())
    metrics.stream_ended("openai", "gpt-4o", finished(), 0.1, ())
    assert len(models(metrics)) == MAX_MODELS + 2
    assert models(metrics)["other"] == 500 - MAX_MODELS
    assert models(metrics)["gpt-4o"] == 1


def test_tokens_that_were_not_reported_are_not_counted():
    metrics = Metrics()
    metrics.stream_ended("p", "m", finished(Usage(input_tokens=5, output_tokens=0, reasoning_tokens=-3)), 0.1, ())
    metrics.stream_ended("p", "m", finished(), 0.1, ())
    assert labels(metrics, "headwater_tokens_total", "kind") == {"input": 5, "reasoning": 0}


def test_a_failed_attempt_at_the_model_that_then_answers_is_no_fallback():
    metrics, failure = Metrics(), Failure(Reason.PROVIDER_UNAVAILABLE, "down")
    metrics.stream_ended("p", "m", finished(), 0.1, [Attempt("p", "m", failure, 0.1)])
    metrics.stream_ended("p", "m", UNAVAILABLE, None, [Attempt("q", "n", failure, 0.1)])
    assert labels(metrics, "headwater_fallbacks_total", "model") == {}
    metrics.stream_ended("p", "m", finished(), 0.1, [Attempt("q", "n", failure, 0.1)])
    assert labels(metrics, "headwater_fallbacks_total", "model") == {"m": 1}
    assert labels(metrics, "headwater_attempts_failed_total", "provider") == {"p": 1, "q": 2}


def test_a_run_that_is_left_to_the_next_process_has_not_ended():
    metrics = Metrics()
    metrics.run_ended(RunStatus.RUNNING)
    metrics.run_ended(RunStatus.FAILED)
    assert labels(metrics, "headwater_runs_ended_total", "status") == {"failed": 1}


def test_the_queues_that_have_most_are_named():
    metrics = Metrics()
    queues = {"a prompt": 7, "busy": 1_000, **{f"q{number}": 1 for number in range(500)}}
    metrics.watch_queues("tasks_waiting", "Tasks.", lambda: queues)
    found = labels(metrics, "headwater_tasks_waiting", "queue")
    assert (found["busy"], len(found), sum(found.values())) == (1_000, MAX_QUEUES, 1_507)
    assert "a prompt" not in found


def test_the_series_of_processes_stand_beside_each_other():
    metrics, sibling = Metrics(), Metrics()
    metrics.stream_started()
    sibling.stream_started()
    sibling.stream_started()
    lines = united(0, metrics.registry, {1: text_of(sibling.registry), 2: None}).decode().splitlines()
    assert [line for line in lines if line.startswith(("headwater_streams_started", "headwater_process_up"))] == [
        'headwater_process_up{process="0"} 1.0',
        'headwater_process_up{process="1"} 1.0',
        'headwater_process_up{process="2"} 0.0',
        'headwater_streams_started_total{process="0"} 1.0',
        'headwater_streams_started_total{process="1"} 2.0',
    ]
