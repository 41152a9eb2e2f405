"""Rows that cannot be read, such as those that a fault of the disk has changed: one run alone suffers from it.

The run shows as failed, with the reason. Its words leave the content out, which is not for the log.
"""

from __future__ import annotations

import sqlite3
from typing import TypeVar

import msgspec

from headwater_server.domain.errors import Reason
from headwater_server.domain.failure import Failure
from headwater_server.domain.workflow import EventType, RunEvent, RunState, RunStatus, Workflow
from headwater_server.eventlog.stored_events import StoredEvent
from headwater_server.workflows.journal.base import RunInfo, RunSummary, StoredRun

T = TypeVar("T")

_CURE = "restore the file from a copy, or delete the run"
UNREADABLE = Failure(
    Reason.INTERNAL, f"the journal has rows of this run that cannot be read; {_CURE}", non_retryable=True
)


def read_text(data: bytes) -> str | bytes:
    """The text of a column; bytes that are no text stay what they are, so that whatever expects text refuses them."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def check_json(text: str) -> str:
    """The text itself. Raises an error when it is not JSON."""
    msgspec.json.decode(text, type=msgspec.Raw)
    return text


def run(row: sqlite3.Row) -> StoredRun:
    """A run of which some row cannot be read."""
    info = RunInfo(
        run_id=row["run_id"],
        workflow=Workflow(_or(row, "workflow_name", ""), ()),
        queue=_or(row, "queue", ""),
        request_id=_or(row, "request_id", ""),
        fingerprint=_or(row, "fingerprint", ""),
        created=_or(row, "created", 0.0),
        owner=_or(row, "owner", ""),
    )
    state = RunState({}, status=RunStatus.FAILED, failure=UNREADABLE)
    ended = _or(row, "ended", 0.0) or info.created
    return StoredRun(info, state, _or(row, "reserved", 0), _or(row, "sequence", 0), ended, is_damaged=True)


def summary(row: sqlite3.Row) -> RunSummary:
    """A run in a list whose row cannot be read."""
    return RunSummary(
        position=row["position"],
        run_id=_or(row, "run_id", ""),
        workflow_name=_or(row, "workflow_name", ""),
        queue=_or(row, "queue", ""),
        status=RunStatus.FAILED,
        failure=UNREADABLE,
        failed_steps=(),
        created=_or(row, "created", 0.0),
        ended=_or(row, "ended", 0.0) or _or(row, "created", 0.0),
    )


def event(row: sqlite3.Row) -> StoredEvent:
    """A warning in the place of an event that cannot be read."""
    warning = RunEvent(EventType.RUN_WARNING, message="the journal has an event here that cannot be read")
    warning.sequence, warning.create_time = row["sequence"], _or(row, "create_time", 0.0)
    return StoredEvent(warning, is_damaged=True)


def _or(row: sqlite3.Row, name: str, default: T) -> T:
    """The value of a column if it is of the right type."""
    value = row[name]
    return value if isinstance(value, type(default)) else default
