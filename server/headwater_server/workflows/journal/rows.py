"""Runs, steps and events as rows of the SQLite journal, and back."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import msgspec

from headwater_server.domain.chunks import Usage
from headwater_server.domain.failure import Failure
from headwater_server.domain.workflow import EventType, RunEvent, RunState, RunStatus, StepState
from headwater_server.eventlog.stored_events import ChunkMark, StoredEvent
from headwater_server.workflows.journal import damage
from headwater_server.workflows.journal.base import Change, RunChange, RunInfo, RunSummary, StoredRun

Row: TypeAlias = dict[str, object]

_EVENT_FIELDS = (
    "sequence", "type", "step", "attempt", "content", "thinking", "omitted", "result", "create_time",
)  # fmt: skip
_EVENT_FACTS = (
    "workflow_name", "failure", "skip_reason", "because_of", "delay_seconds", "queue", "message", "context_key",
    "run_status", "failed_steps", "reply", "usage",
)  # fmt: skip
_RESULT = "_result"
_STEP_FIELDS = ("name", "status", "attempt", "failures", "result", "skip_reason", "started", "ended", "queue")


def run_row(info: RunInfo, state: RunState) -> Row:
    """A row of `runs`."""
    return {
        "run_id": info.run_id,
        "workflow_name": info.workflow.name,
        "workflow": to_json(info.workflow),
        "queue": info.queue,
        "request_id": info.request_id or None,
        "fingerprint": info.fingerprint,
        "created": info.created,
        "status": state.status.value,
        "failure": to_json(state.failure),
        "failed_steps": to_json(state.failed_steps),
        "ended": 0.0,
        "reserved": 0,
        "origin": to_json(info.origin),
        "owner": info.owner,
    }


def run_change_row(run_id: str, change: Change) -> Row:
    """The effect of a change on a row of `runs`; `status` is None when it leaves the run's own state as it is."""
    status = change.status or RunChange(RunStatus.RUNNING)
    return {
        "run_id": run_id,
        "reserved": change.reserved,
        "status": change.status.status.value if change.status else None,
        "failure": to_json(status.failure),
        "failed_steps": to_json(status.failed_steps),
        "ended": status.ended,
    }


def step_row(run_id: str, step: StepState) -> Row:
    """A row of `steps`, without its place."""
    row: Row = {name: getattr(step, name) for name in _STEP_FIELDS}
    return {
        **row,
        "run_id": run_id,
        "failure": to_json(step.failure),
        "skipped_because_of": to_json(step.skipped_because_of),
        "reply": to_json(step.reply),
    }


def context_rows(run_id: str, context: Mapping[str, str], steps: Iterable[StepState]) -> list[tuple[str, str, str]]:
    """Rows of `context`; the value is empty for the result of a step, which is in the row of the step."""
    results = {f"{step.name}{_RESULT}": step.result for step in steps}
    return [(run_id, key, "" if results.get(key) == value else value) for key, value in context.items()]


def event_row(run_id: str, stored: StoredEvent) -> Row:
    """A row of `events`. The result of a step is in the row of the step."""
    event = stored.event
    row: Row = {name: getattr(event, name) for name in _EVENT_FIELDS}
    if event.type is EventType.STEP_COMPLETED:
        row["result"] = ""
    return {
        **row,
        "run_id": run_id,
        "facts": to_json({name: value for name in _EVENT_FACTS if (value := getattr(event, name))}),
        "marks": _encode_marks(stored.marks) if stored.marks else None,
        "first": stored.first,
    }


def stored_run(run: sqlite3.Row, steps: Iterable[sqlite3.Row], context: Sequence[sqlite3.Row]) -> StoredRun:
    """A run out of its rows, the steps and the context in their order."""
    fields = {name: run[name] for name in ("run_id", "queue", "fingerprint", "created", "owner")}
    fields |= {name: json.loads(run[name]) for name in ("workflow", "origin")}
    info = msgspec.convert({**fields, "request_id": run["request_id"] or ""}, RunInfo)
    rows = list(steps)
    states = {row["name"]: _step_state(row) for row in rows}
    if list(states) != [step.name for step in info.workflow.steps]:
        raise ValueError("the steps of a run are not those of its workflow")
    size = len(run["workflow"]) + sum(len(row["result"]) for row in rows)
    size += sum(len(row["key"]) + len(row["value"]) for row in context)
    state = RunState(
        states,
        {row["key"]: _value(row, states) for row in context},
        RunStatus(run["status"]),
        _failure(run["failure"]),
        _names(run["failed_steps"]),
        {row["name"]: damage.check_json(row["progress"]) for row in rows if row["progress"]},
    )
    return StoredRun(info, state, run["reserved"], run["sequence"] or 0, run["ended"], size)


def _value(row: sqlite3.Row, states: Mapping[str, StepState]) -> str:
    """The value of a key of the context; the result of a step was checked with the step."""
    key: str = row["key"]
    return damage.check_json(row["value"]) if row["value"] else states[key.removesuffix(_RESULT)].result


def run_summary(row: sqlite3.Row) -> RunSummary:
    """A run in a list, out of its columns; one that cannot be read shows as failed."""
    try:
        return _run_summary(row)
    except Exception:  # noqa: BLE001  whatever the row has
        return damage.summary(row)


def _run_summary(row: sqlite3.Row) -> RunSummary:
    values: dict[str, Any] = dict(row)
    values["status"] = RunStatus(values["status"])
    values["failure"], values["failed_steps"] = _failure(values["failure"]), _names(values["failed_steps"])
    values["usage"] = msgspec.convert(json.loads(values["usage"] or "null"), Usage | None)
    return msgspec.convert(values, RunSummary)


def stored_event(row: sqlite3.Row) -> StoredEvent:
    """An event out of its row; a warning in the place of one that cannot be read."""
    try:
        return _stored_event(row)
    except Exception:  # noqa: BLE001  whatever the row has
        return damage.event(row)


def _stored_event(row: sqlite3.Row) -> StoredEvent:
    fields = {**{name: row[name] for name in _EVENT_FIELDS}, **json.loads(row["facts"])}
    fields["result"] = row["result"] or row["step_result"] or ""
    event = msgspec.convert(fields, RunEvent)
    return StoredEvent(event, _decode_marks(row["marks"]) if row["marks"] else ())


def _step_state(row: sqlite3.Row) -> StepState:
    fields = {name: row[name] for name in _STEP_FIELDS}
    for name in ("failure", "skipped_because_of", "reply"):
        fields[name] = json.loads(row[name])
    state = msgspec.convert(fields, StepState)
    if state.result:
        damage.check_json(state.result)
    return state


def to_json(value: object) -> str:
    """Plain data as JSON text. Numbers stay what they are, keys keep their order."""
    return json.dumps(msgspec.to_builtins(value), ensure_ascii=False)


def _failure(text: str) -> Failure | None:
    return msgspec.convert(json.loads(text), Failure | None)


def _names(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))


def _encode_marks(marks: Sequence[ChunkMark]) -> bytes:
    """The steps from mark to mark, which are small: about three bytes a mark as MessagePack."""
    return msgspec.msgpack.encode(list(_differences(marks)))


def _differences(marks: Sequence[ChunkMark]) -> Iterator[int]:
    for before, mark in pairwise([ChunkMark(0, 0, 0), *marks]):
        yield mark.sequence - before.sequence
        yield mark.content - before.content
        yield mark.thinking - before.thinking


def _decode_marks(data: bytes) -> tuple[ChunkMark, ...]:
    steps = iter(msgspec.msgpack.decode(data, type=list[int]))
    marks: list[ChunkMark] = []
    sequence = content = thinking = 0
    for more in steps:
        sequence += more
        content += next(steps)
        thinking += next(steps)
        marks.append(ChunkMark(sequence, content, thinking))
    return tuple(marks)
