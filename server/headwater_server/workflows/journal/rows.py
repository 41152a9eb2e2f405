"""Runs, steps and events as rows of the SQLite journal, and back."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any, TypeAlias

import msgspec

from headwater_server.domain.workflow import (
    EventType,
    RunEvent,
    RunState,
    RunStatus,
    Step,
    StepState,
    StepStatus,
    Workflow,
)
from headwater_server.eventlog.stored_events import ChunkMark, StoredEvent
from headwater_server.workflows.journal.base import RunInfo, RunSummary, StoredRun

Row: TypeAlias = dict[str, object]

_EVENT_FIELDS = (
    "sequence", "step", "attempt", "content", "thinking", "omitted", "result", "error", "delay_seconds", "queue", "key",
    "create_time",
)  # fmt: skip
_STEP_FIELDS = ("name", "attempt", "failures", "result", "error", "started", "ended", "queue")


def run_row(info: RunInfo, state: RunState) -> Row:
    """A row of `runs`."""
    workflow = asdict(info.workflow)
    agent = workflow.pop("agent")
    return {
        "run_id": info.run_id,
        "workflow_name": info.workflow.name,
        "workflow": json.dumps(workflow),
        "agent": agent,
        "queue": info.queue,
        "request_id": info.request_id or None,
        "fingerprint": info.fingerprint,
        "created": info.created,
        "status": state.status.value,
        "error": state.error,
        "ended": 0.0,
        "reserved": 0,
    }


def step_row(run_id: str, step: StepState) -> Row:
    """A row of `steps`, without its place."""
    row: Row = {name: getattr(step, name) for name in _STEP_FIELDS}
    return {**row, "run_id": run_id, "status": step.status.value, "cause": json.dumps(step.cause)}


def event_row(run_id: str, stored: StoredEvent) -> Row:
    """A row of `events`."""
    event = stored.event
    row: Row = {name: getattr(event, name) for name in _EVENT_FIELDS}
    return {
        **row,
        "run_id": run_id,
        "type": event.type.value,
        "run_status": event.run_status.value if event.run_status else None,
        "marks": _encode_marks(stored.marks) if stored.marks else None,
    }


def stored_run(run: sqlite3.Row, steps: Iterable[sqlite3.Row], context: Iterable[sqlite3.Row]) -> StoredRun:
    """A run out of its rows, the steps and the context in their order."""
    info = RunInfo(
        run_id=run["run_id"],
        workflow=_workflow(json.loads(run["workflow"]), run["agent"]),
        queue=run["queue"],
        request_id=run["request_id"] or "",
        fingerprint=run["fingerprint"],
        created=run["created"],
    )
    state = RunState(
        {row["name"]: _step_state(row) for row in steps},
        {row["key"]: row["value"] for row in context},
        RunStatus(run["status"]),
        run["error"],
    )
    return StoredRun(info, state, run["reserved"], run["sequence"], run["ended"])


def run_summary(row: sqlite3.Row) -> RunSummary:
    """A run in a list, out of its columns."""
    values: dict[str, Any] = dict(row)
    return RunSummary(**{**values, "status": RunStatus(values["status"])})


def stored_event(row: sqlite3.Row) -> StoredEvent:
    """An event out of its row."""
    status = row["run_status"]
    event = RunEvent(
        EventType(row["type"]),
        run_status=RunStatus(status) if status else None,
        **{name: row[name] for name in _EVENT_FIELDS},
    )
    return StoredEvent(event, _decode_marks(row["marks"]) if row["marks"] else ())


def _workflow(fields: dict[str, Any], agent: bytes) -> Workflow:
    steps = tuple(Step(**{**step, "depends_on": tuple(step["depends_on"])}) for step in fields.pop("steps"))
    return Workflow(**fields, steps=steps, agent=agent)


def _step_state(row: sqlite3.Row) -> StepState:
    fields = {name: row[name] for name in _STEP_FIELDS}
    return StepState(**fields, status=StepStatus(row["status"]), cause=tuple(json.loads(row["cause"])))


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
