"""The state of the whole server, made of the metrics of its processes.

So it says nothing that the metrics do not say, and costs nothing between two questions.

Example. Process 0 has `headwater_chunks_total{provider="openai",model="gpt-4o"} 10`, process 1 the same with 5: the
model `openai`/`gpt-4o` has 15 chunks.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from prometheus_client.metrics_core import Metric

from headwater_server.domain.errors import Reason

_FAILURES = frozenset(reason.value for reason in Reason)
_MODELS = {
    "headwater_streams_open": "open_streams",
    "headwater_streams_ended_total": "ended_streams",
    "headwater_chunks_total": "chunks",
}
_TOKENS = {"input": "input_tokens", "output": "output_tokens"}
_CIRCUITS = {"open": "open_circuits", "half_open": "half_open_circuits"}
_QUEUES = {
    "headwater_workers": "workers",
    "headwater_tasks_waiting": "waiting_tasks",
    "headwater_tasks_running": "running_tasks",
}
_PROCESSES = {
    "headwater_process_up": "answers",
    "headwater_streams_open": "open_streams",
    "headwater_loop_lag_recent_seconds": "loop_lag_seconds",
    "process_cpu_seconds_total": "cpu_seconds",
    "process_resident_memory_bytes": "memory_bytes",
    "process_open_fds": "open_files",
    "process_start_time_seconds": "start_time",
}
_SERVER = {"headwater_runs_open": "open_runs", "headwater_journal_bytes": "journal_bytes"}


@dataclass(slots=True)
class ModelStatus:
    """The numbers of a model, by the names of the contract. `cost`: None where nothing was paid."""

    counts: Counter[str] = field(default_factory=Counter)
    cost: Decimal | None = None


@dataclass(slots=True)
class ServerStatus:
    """The state of the server: numbers by the names of the contract.

    Attributes:
        processes: by number.
        models: by provider and model.
        queues: by name.
        server: of all.
    """

    processes: dict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    models: dict[tuple[str, str], ModelStatus] = field(default_factory=lambda: defaultdict(ModelStatus))
    queues: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    server: Counter[str] = field(default_factory=Counter)


def status_of(families: Iterable[Metric]) -> ServerStatus:
    """The state that the metrics of all processes say."""
    status = ServerStatus()
    for family in families:
        for sample in family.samples:
            _add(status, sample.name, sample.labels, sample.value)
    return status


def _add(status: ServerStatus, name: str, labels: Mapping[str, str], value: float) -> None:
    """Adds one series."""
    if name in _PROCESSES:
        status.processes[int(labels["process"])][_PROCESSES[name]] += value  # type: ignore[assignment]
    if name in _QUEUES:
        status.queues[labels["queue"]][_QUEUES[name]] += value  # type: ignore[assignment]
    if name in _SERVER:
        status.server[_SERVER[name]] += value  # type: ignore[assignment]
    if "model" in labels and (fact := _fact(name, labels)):
        model = status.models[labels["provider"], labels["model"]]
        model.counts[fact] += value  # type: ignore[assignment]
        if name == "headwater_streams_ended_total" and labels["reason"] in _FAILURES:
            model.counts["failed_streams"] += value  # type: ignore[assignment]
    if name == "headwater_cost_total":
        model = status.models[labels["provider"], labels["model"]]
        model.cost = (model.cost or Decimal(0)) + Decimal(repr(value))


def _fact(name: str, labels: Mapping[str, str]) -> str | None:
    """The name in the contract of a number of a model; None for one that is not there."""
    if name == "headwater_tokens_total":
        return _TOKENS.get(labels["kind"])
    return _CIRCUITS.get(labels["state"]) if name == "headwater_circuits" else _MODELS.get(name)
