"""The state of the server is the sum of the metrics of its processes."""

from __future__ import annotations

from decimal import Decimal

from headwater_server.domain.chunks import Usage
from headwater_server.domain.costs.prices import Price
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.telemetry.counting.status import ServerStatus, status_of
from headwater_server.telemetry.metrics import Metrics
from headwater_server.telemetry.metrics_text import families_of_all, text_of
from headwater_server.transport.convert.replies import timestamp
from headwater_server.transport.services.operator import MAX_MODELS, server_status
from tests.unit.telemetry.test_metrics import finished, stream

PRICE = Price(Decimal("0.1"), Decimal("0.2"))


def state(own: Metrics, **siblings: Metrics | None) -> ServerStatus:
    texts = {int(name[1:]): None if each is None else text_of(each.registry) for name, each in siblings.items()}
    return status_of(families_of_all(0, own.registry, texts))


def test_models_and_queues_are_summed_over_processes():
    own, other = Metrics(), Metrics()
    for each, waiting in ((own, 1), (other, 2)):
        each.watch_queues("tasks_waiting", "Waiting.", lambda waiting=waiting: {"gpu": waiting})
        done = stream(end=finished(Usage(1, 1)), first_token_seconds=0.1, price=PRICE)
        done.chunk_count = 5
        each.stream_ended(done)
        each.stream_ended(stream(end=HeadwaterError(Reason.STREAM_TIMEOUT, "late")))
        each.stream_started(stream(first_token_seconds=0.1))
    message = server_status(state(own, _1=other), timestamp(1.0), "1")
    [model] = message.models
    assert (model.provider, model.model, model.open_streams, model.chunks) == ("p", "m", 2, 10)
    assert (model.ended_streams, model.failed_streams) == (4, 2)
    assert (model.input_tokens, model.output_tokens, model.cost) == (2, 2, "0.0000006")
    assert [(queue.queue, queue.waiting_tasks) for queue in message.queues] == [("gpu", 3)]
    assert [process.open_streams for process in message.processes] == [1, 1]


def test_a_process_that_does_not_answer_has_its_number_alone():
    message = server_status(state(Metrics(), _1=None), timestamp(1.0), "1")
    first, second = message.processes
    assert (first.answers, second.answers, second.process) == (True, False, 1)
    assert {field.name for field, _ in second.ListFields()} == {"process"}
    assert first.memory_bytes > 10_000_000


def test_circuits_are_told_apart_by_state():
    metrics = Metrics()
    metrics.models.name([("p", "m")])
    metrics.watch_circuits(lambda: [("p", "m", "open"), ("p", "m", "half_open"), ("p", "m", "open")])
    [model] = server_status(state(metrics), timestamp(1.0), "1").models
    assert (model.open_circuits, model.half_open_circuits) == (2, 1)


def test_the_models_are_bounded_and_those_with_most_streams_are_kept():
    metrics = Metrics()
    for number in range(MAX_MODELS + 10):
        metrics.stream_ended(stream(f"p{number}", "m", finished(), 0.1))
    metrics.stream_started(stream("busy", "m", first_token_seconds=0.1))
    models = server_status(state(metrics), timestamp(1.0), "1").models
    assert len(models) == MAX_MODELS
    assert models[0].provider == "busy"
