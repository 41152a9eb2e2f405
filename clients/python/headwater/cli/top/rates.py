"""The difference of two answers of a server about its state: rates, and the lines that show them.

Totals begin at zero when a process of the server is started again. A total that fell is such a beginning, and has no
rate until the answer after the next one.

Example. At 10 s a model has 100 chunks, at 12 s it has 140: 20 chunks/s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from headwater.cli.output import one_line
from headwater.v1.operator_service_pb2 import GetServerStatusResponse, ModelStatus, ProcessStatus

_MIB = 2**20
_UNKNOWN = "-"

_LONGEST_MODEL = 32

Rows: TypeAlias = Sequence[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the view: the names of its columns, the most important first, and its rows."""

    heads: tuple[str, ...]
    rows: Rows


@dataclass(frozen=True, slots=True)
class View:
    """The view of a moment: a line about the whole server, then the sections that have rows."""

    title: str
    sections: list[Section]


def view(now: GetServerStatusResponse, before: GetServerStatusResponse | None) -> View:
    """The view of the state `now`; `before`: an earlier one, for the rates."""
    seconds = 0.0 if before is None else _time(now) - _time(before)
    sections = [_processes(now, before, seconds), _models(now, before, seconds), _queues(now)]
    return View(_title(now, before, seconds), [section for section in sections if section.rows])


def _time(status: GetServerStatusResponse) -> float:
    return status.read_time.ToNanoseconds() / 1e9


def _title(now: GetServerStatusResponse, before: GetServerStatusResponse | None, seconds: float) -> str:
    streams = sum(process.open_streams for process in now.processes)
    chunks = _sum(_rates(now, before, seconds, "chunks"))
    tokens = _sum(_rates(now, before, seconds, "output_tokens"))
    facts = [
        f"headwater {now.server_version}",
        f"{now.read_time.ToDatetime():%H:%M:%S} UTC",
        f"{streams} stream{'' if streams == 1 else 's'}",
        f"{chunks} chunks/s",
        f"{tokens} tokens/s",
        f"{now.open_runs} run{'' if now.open_runs == 1 else 's'}",
        f"journal {_size(now.journal_bytes)}",
    ]
    return ", ".join(fact.replace(" ", "\N{NO-BREAK SPACE}") for fact in facts)


def _processes(now: GetServerStatusResponse, before: GetServerStatusResponse | None, seconds: float) -> Section:
    heads = ("PROCESS", "STREAMS", "CPU", "MEMORY", "LAG", "FILES")
    earlier = {process.process: process for process in before.processes} if before else {}
    rows = [_process(process, earlier.get(process.process), seconds) for process in now.processes]
    return Section(heads, rows)


def _process(process: ProcessStatus, before: ProcessStatus | None, seconds: float) -> tuple[str, ...]:
    if not process.answers:
        return (str(process.process), "no answer", "", "", "", "")
    share = _UNKNOWN
    if before is not None and before.answers and seconds > 0 and process.cpu_seconds >= before.cpu_seconds:
        share = f"{(process.cpu_seconds - before.cpu_seconds) / seconds:.0%}"
    return (
        str(process.process),
        str(process.open_streams),
        share,
        _size(process.memory_bytes),
        f"{process.loop_lag.ToNanoseconds() / 1e6:.0f} ms",
        str(process.open_files),
    )


def _models(now: GetServerStatusResponse, before: GetServerStatusResponse | None, seconds: float) -> Section:
    heads = ("MODEL", "OPEN", "CHUNKS/S", "TOKENS/S", "COST", "FAILED", "CIRCUIT", "ENDED", "TOKENS")
    chunks, tokens = (_rates(now, before, seconds, name) for name in ("chunks", "output_tokens"))
    rows = [
        (
            one_line(f"{model.provider}/{model.model}", _LONGEST_MODEL),
            str(model.open_streams),
            _rate(chunks[_name(model)]),
            _rate(tokens[_name(model)]),
            model.cost or _UNKNOWN,
            _count(model.failed_streams),
            "open" if model.open_circuits else "half open" if model.half_open_circuits else "closed",
            _count(model.ended_streams),
            f"{_count(model.input_tokens)} in, {_count(model.output_tokens)} out",
        )
        for model in now.models
    ]
    return Section(heads, rows)


def _queues(now: GetServerStatusResponse) -> Section:
    heads = ("QUEUE", "WORKERS", "RUNNING", "WAITING")
    rows: Rows = [(q.queue, str(q.workers), str(q.running_tasks), str(q.waiting_tasks)) for q in now.queues]
    return Section(heads, rows)


def _name(model: ModelStatus) -> tuple[str, str]:
    return model.provider, model.model


def _rates(
    now: GetServerStatusResponse, before: GetServerStatusResponse | None, seconds: float, name: str
) -> Mapping[tuple[str, str], float | None]:
    """By how much a total of each model rose in a second; None where that is not known."""
    earlier = {_name(model): getattr(model, name) for model in before.models} if before else {}
    found: dict[tuple[str, str], float | None] = {}
    for model in now.models:
        risen = getattr(model, name) - earlier.get(_name(model), 0.0)
        found[_name(model)] = risen / seconds if before is not None and seconds > 0 and risen >= 0 else None
    return found


def _sum(rates: Mapping[tuple[str, str], float | None]) -> str:
    known = [rate for rate in rates.values() if rate is not None]
    return _rate(sum(known)) if known or not rates else _UNKNOWN


def _rate(rate: float | None) -> str:
    return _UNKNOWN if rate is None else f"{rate:,.1f}"


def _count(count: float) -> str:
    return f"{count:,.0f}"


def _size(size: float) -> str:
    return f"{size / _MIB:,.0f} MiB"
