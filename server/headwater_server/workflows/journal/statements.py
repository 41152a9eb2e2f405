"""Reads and writes of the SQLite journal: each function runs on the journal's thread, within a transaction."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from sqlite3 import Connection

from headwater_server.domain.failure import Failure
from headwater_server.domain.workflow import EventType, RunEvent, RunState, RunStatus
from headwater_server.eventlog.store import replay
from headwater_server.eventlog.stored_events import StoredEvent
from headwater_server.workflows.journal import damage, rows
from headwater_server.workflows.journal.base import (
    LARGE_CHARACTERS,
    Change,
    EventPage,
    JournalFullError,
    RunInfo,
    RunSummary,
    StoredRun,
)

PAGE_CHARACTERS = 8 * 1024
MAX_HANDLER_CHARACTERS = 1024 * 1024
EVENT_COST = 250  # of the objects of an event, in characters

_INSERT_RUN = """
    INSERT INTO runs (run_id, workflow_name, queue, request_id, fingerprint, created, status, failure, failed_steps,
        ended, reserved, origin, owner)
    VALUES (:run_id, :workflow_name, :queue, :request_id, :fingerprint, :created, :status, :failure, :failed_steps,
        :ended, :reserved, :origin, :owner)
"""
_INSERT_DEFINITION = "INSERT INTO definitions (run_id, workflow) VALUES (:run_id, :workflow)"
_UPDATE_RUN = """
    UPDATE runs SET reserved = max(reserved, :reserved), status = coalesce(:status, status),
        failure = iif(:status IS NULL, failure, :failure),
        failed_steps = iif(:status IS NULL, failed_steps, :failed_steps),
        ended = iif(:status IS NULL, ended, :ended)
    WHERE run_id = :run_id
"""
_INSERT_STEP = """
    INSERT INTO steps (run_id, name, place, status, attempt, failures, result, failure, skip_reason, skipped_because_of,
        started, ended, queue, reply)
    VALUES (:run_id, :name, :place, :status, :attempt, :failures, :result, :failure, :skip_reason, :skipped_because_of,
        :started, :ended, :queue, :reply)
"""
_UPDATE_STEP = """
    UPDATE steps SET status = :status, attempt = :attempt, failures = :failures, result = :result,
        failure = :failure, skip_reason = :skip_reason, skipped_because_of = :skipped_because_of,
        started = :started, ended = :ended, queue = :queue, reply = :reply
    WHERE run_id = :run_id AND name = :name
"""
_NOTE_PROGRESS = "UPDATE steps SET progress = ? WHERE run_id = ? AND name = ?"
_INSERT_EVENT = """
    INSERT INTO events (run_id, sequence, type, step, attempt, content, thinking, omitted, result, facts,
        create_time, marks, first)
    VALUES (:run_id, :sequence, :type, :step, :attempt, :content, :thinking, :omitted, :result, :facts,
        :create_time, :marks, :first)
"""
_HAS_EVENT = "SELECT 1 FROM events WHERE run_id = :run_id AND sequence = :sequence"
_SET_KEY = """
    INSERT INTO context (run_id, key, value) VALUES (?, ?, ?)
    ON CONFLICT (run_id, key) DO UPDATE SET value = excluded.value
"""
# The last event of a run that has ended has the usage of all its steps.
_PAGE = """
    SELECT position, run_id, workflow_name, queue, status, failure, failed_steps, created, ended, (
        SELECT iif(json_valid(facts), json_extract(facts, '$.usage'), NULL) FROM events
        WHERE events.run_id = runs.run_id ORDER BY sequence DESC LIMIT 1
    ) AS usage FROM runs
    WHERE (:before = 0 OR position < :before) AND (:status IS NULL OR status = :status)
        AND (:name = '' OR workflow_name = :name) AND created >= :since
        AND (:owner IS NULL OR owner = :owner)
    ORDER BY position DESC LIMIT :size
"""
_LOAD_RUN = """
    SELECT *, (SELECT max(sequence) FROM events WHERE events.run_id = runs.run_id) AS sequence
    FROM runs LEFT JOIN definitions USING (run_id) WHERE run_id = ?
"""
# The result of a step is in its row alone; an event written before that was so has it too.
_EVENTS = """
    SELECT events.*, steps.result AS step_result FROM events LEFT JOIN steps
        ON events.type = 'step_completed' AND steps.run_id = events.run_id AND steps.name = events.step
    WHERE events.run_id = ? AND sequence > ? ORDER BY sequence
"""
# The text of an attempt is void when there is a later one.
_EVENTS_THAT_COUNT = """
    SELECT events.*, iif(events.type = 'step_completed', steps.result, '') AS step_result
    FROM events LEFT JOIN steps ON events.type IN ('step_completed', 'step_chunk')
        AND steps.run_id = events.run_id AND steps.name = events.step
    WHERE events.run_id = ? AND sequence > ? AND (events.type <> 'step_chunk' OR steps.attempt = events.attempt)
    ORDER BY sequence
"""
# Merged chunks with pieces before a number, themselves after it.
_OPEN_CHUNKS = """
    SELECT events.*, '' AS step_result FROM events INDEXED BY events_chunks
        JOIN steps ON steps.run_id = events.run_id AND steps.name = events.step AND steps.attempt = events.attempt
    WHERE events.run_id = :run_id AND type = 'step_chunk' AND sequence > :number AND first <= :number
"""
_SEE_HANDLER = """
    INSERT INTO handlers (queue, name, seen) VALUES (?, ?, (julianday('now') - 2440587.5) * 86400)
    ON CONFLICT (queue, name) DO UPDATE SET seen = excluded.seen WHERE excluded.seen > seen + 3600
"""
_FORGET_HANDLERS = """
    DELETE FROM handlers WHERE (queue, name) IN (SELECT queue, name FROM (
        SELECT queue, name, sum(length(queue) + length(name)) OVER (ORDER BY seen DESC, queue, name) AS total
        FROM handlers
    ) WHERE total > ?)
"""
_PRUNE_HANDLERS = "DELETE FROM handlers WHERE seen < ? AND queue NOT IN (SELECT queue FROM runs)"
_PRUNE = """
    DELETE FROM runs WHERE position IN
        (SELECT position FROM runs WHERE status <> 'running' AND ended < :before AND created < :before LIMIT :most)
"""
_FAIL_RUN = """
    UPDATE runs SET status = 'failed', failure = :failure, failed_steps = '[]', ended = :ended, reserved = :sequence
    WHERE run_id = :run_id AND status = 'running'
"""
_CANCEL_STEPS = """
    UPDATE steps SET status = 'cancelled', ended = :ended, queue = ''
    WHERE run_id = :run_id AND status NOT IN ('completed', 'failed', 'skipped', 'cancelled')
"""
_LAST_NUMBER = """
    SELECT max(reserved, coalesce((SELECT max(sequence) FROM events WHERE events.run_id = runs.run_id), 0)) AS number
    FROM runs WHERE run_id = ? AND status = 'running'
"""


@dataclass(frozen=True, slots=True)
class ChangeRows:
    """A change as rows, made at once: the objects of the change may be altered later."""

    run_id: str
    run: rows.Row
    steps: Sequence[rows.Row]
    context: Sequence[tuple[str, str, str]]
    deleted: Sequence[tuple[str, str]]
    events: Sequence[rows.Row]
    progress: Sequence[tuple[str, str, str]]

    @classmethod
    def of(cls, run_id: str, change: Change) -> ChangeRows:
        """The rows of a change of a run."""
        return cls(
            run_id=run_id,
            run=rows.run_change_row(run_id, change),
            steps=[rows.step_row(run_id, step) for step in change.steps],
            context=rows.context_rows(run_id, change.context, change.steps),
            deleted=[(run_id, key) for key in change.deleted],
            events=[rows.event_row(run_id, event) for event in change.events],
            progress=[(progress, run_id, step) for step, progress in change.progress.items()],
        )


@dataclass(frozen=True, slots=True)
class RunRows:
    """A new run as rows."""

    run: rows.Row
    steps: Sequence[rows.Row]
    context: Sequence[tuple[str, str, str]]

    @property
    def size(self) -> int:
        """About so many characters."""
        return len(str(self.run["workflow"])) + sum(len(key) + len(value) for _, key, value in self.context)

    @classmethod
    def of(cls, info: RunInfo, state: RunState) -> RunRows:
        """The rows of a run as it begins."""
        steps = enumerate(state.steps.values())
        return cls(
            run=rows.run_row(info, state),
            steps=[{**rows.step_row(info.run_id, step), "place": place} for place, step in steps],
            context=[(info.run_id, key, value) for key, value in state.context.items()],
        )


def create(connection: Connection, run: RunRows, change: ChangeRows, max_bytes: int) -> None:
    """Adds a run. Raises KeyError when its request id is taken, JournalFullError at the full size."""
    request_id = run.run["request_id"]
    if request_id and find(connection, str(request_id), str(run.run["owner"])) is not None:
        raise KeyError(request_id)
    if size(connection) + run.size > max_bytes:
        raise JournalFullError(f"the journal has {max_bytes // 2**20} MiB, as journal_mib allows")
    connection.execute(_INSERT_RUN, run.run)
    connection.execute(_INSERT_DEFINITION, run.run)
    connection.executemany(_INSERT_STEP, run.steps)
    connection.executemany(_SET_KEY, run.context)
    commit(connection, change)


def size(connection: Connection) -> int:
    """The bytes of the file that have content."""
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    return int((pages - free) * page_bytes)


def commit(connection: Connection, change: ChangeRows) -> None:
    """Adds to a run, unless that was done before. Raises KeyError for a run or a step that is not there."""
    if change.events and connection.execute(_HAS_EVENT, change.events[0]).fetchone():
        return
    if connection.execute(_UPDATE_RUN, change.run).rowcount == 0:
        raise KeyError(change.run_id)
    for step in change.steps:
        if connection.execute(_UPDATE_STEP, step).rowcount == 0:
            raise KeyError(step["name"])
    connection.executemany(_NOTE_PROGRESS, change.progress)
    connection.executemany("DELETE FROM context WHERE run_id = ? AND key = ?", change.deleted)
    connection.executemany(_SET_KEY, change.context)
    connection.executemany(_INSERT_EVENT, change.events)


def status(connection: Connection, run_id: str) -> RunStatus | None:
    """The status of a run."""
    row = connection.execute("SELECT status FROM runs WHERE run_id = ?", (run_id,)).fetchone()
    if row is None:
        return None
    # One that cannot be read has failed, as `load` shows.
    return RunStatus(row["status"]) if row["status"] in set(RunStatus) else RunStatus.FAILED


def load(connection: Connection, run_id: str) -> StoredRun | None:
    """A run; None when there is none. One that cannot be read shows as failed."""
    run = connection.execute(_LOAD_RUN, (run_id,)).fetchone()
    if run is None:
        return None
    steps = connection.execute("SELECT * FROM steps WHERE run_id = ? ORDER BY place", (run_id,)).fetchall()
    context = connection.execute("SELECT * FROM context WHERE run_id = ? ORDER BY place", (run_id,)).fetchall()
    try:
        return rows.stored_run(run, steps, context)
    except Exception:  # noqa: BLE001  whatever the rows have
        return damage.run(run)


def owner(connection: Connection, run_id: str) -> str | None:
    """The caller that a run belongs to."""
    row = connection.execute("SELECT owner FROM runs WHERE run_id = ?", (run_id,)).fetchone()
    return None if row is None else str(row["owner"])


def find(connection: Connection, request_id: str, owner: str) -> tuple[str, str] | None:
    """Id and fingerprint of the run that a request of this caller started."""
    query = "SELECT run_id, fingerprint FROM runs WHERE request_id = ? AND owner = ?"
    row = connection.execute(query, (request_id, owner)).fetchone()
    return None if row is None else (row["run_id"], row["fingerprint"])


def events(connection: Connection, run_id: str, after: int) -> list[StoredEvent]:
    """The events of a run with a number above `after`."""
    return [rows.stored_event(row) for row in connection.execute(_EVENTS, (run_id, after))]


def event_page(connection: Connection, run_id: str, after: int, *, large: bool = False) -> EventPage:
    """The next events of a run that has ended; see `Journal.event_page`."""
    entries: list[StoredEvent] = []
    size, last, is_last = 0, after, True
    for row in connection.execute(_EVENTS_THAT_COUNT, (run_id, after)):
        is_large = len(row["step_result"] or row["result"]) > LARGE_CHARACTERS
        if is_large and not large and not entries:
            return EventPage(deque(), after, False, is_large=True)
        if size >= PAGE_CHARACTERS or (is_large and entries):
            is_last = False
            break
        entry = rows.stored_event(row)
        entries.append(entry)
        size, last = size + _cost(entry.event), entry.event.sequence
    if not is_last:
        for row in connection.execute(_OPEN_CHUNKS, {"run_id": run_id, "number": last}):
            if (clipped := rows.stored_event(row).clipped(after, last)) is not None:
                entries.append(clipped)
    page: deque[RunEvent] = deque()
    size = 0
    for event in replay(entries, after, last):
        if size >= PAGE_CHARACTERS:
            return EventPage(page, page[-1].sequence, False)
        page.append(event)
        size += _cost(event)
    return EventPage(page, last, is_last)


def _cost(event: RunEvent) -> int:
    return len(event.content) + len(event.thinking) + len(event.result) + EVENT_COST


def unfinished(connection: Connection) -> list[str]:
    """Runs that have not ended."""
    query = "SELECT run_id FROM runs WHERE status = 'running' ORDER BY position"
    return [row["run_id"] for row in connection.execute(query)]


def page(
    connection: Connection,
    before: int,
    size: int,
    status: RunStatus | None,
    workflow_name: str,
    since: float,
    owner: str | None,
) -> list[RunSummary]:
    """Runs, newest first."""
    values = {"before": before, "size": size, "status": status.value if status else None, "since": since}
    values |= {"name": workflow_name, "owner": owner}
    return [rows.run_summary(row) for row in connection.execute(_PAGE, values)]


def remember_handlers(connection: Connection, queue: str, names: Sequence[str]) -> None:
    """Notes registered names; forgets the oldest beyond MAX_HANDLER_CHARACTERS."""
    if connection.executemany(_SEE_HANDLER, [(queue, name) for name in names]).rowcount:
        connection.execute(_FORGET_HANDLERS, (MAX_HANDLER_CHARACTERS,))


def handlers(connection: Connection, queue: str) -> frozenset[str]:
    """Names registered on a queue."""
    query = "SELECT name FROM handlers WHERE queue = ?"
    return frozenset(row["name"] for row in connection.execute(query, (queue,)))


def probe(connection: Connection) -> None:
    """Writes to the file, and changes nothing."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.execute(f"PRAGMA user_version = {version}")


def give_back(connection: Connection, pages: int) -> int:
    """Takes at most so many free pages off the file. Returns how many are left."""
    connection.execute(f"PRAGMA incremental_vacuum({pages})").fetchall()
    (left,) = connection.execute("PRAGMA freelist_count").fetchone()
    return int(left)


def checkpoint(connection: Connection) -> None:
    """Makes the file itself as small as its content, outside of a transaction. A reader in its way does not matter."""
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def delete(connection: Connection, run_id: str) -> None:
    """Removes a run."""
    connection.execute("DELETE FROM runs WHERE run_id = ?", (run_id,))


def fail(connection: Connection, run_id: str, failure: Failure, ended: float) -> None:
    """Ends a run without reading it."""
    found = connection.execute(_LAST_NUMBER, (run_id,)).fetchone()
    if found is None:
        return
    event = RunEvent(EventType.RUN_FINISHED, run_status=RunStatus.FAILED, failure=failure)
    event.sequence, event.create_time = found["number"] + 1, ended
    row = rows.event_row(run_id, StoredEvent(event))
    connection.execute(_FAIL_RUN, {**row, "failure": rows.to_json(failure), "ended": ended})
    connection.execute(_CANCEL_STEPS, {"run_id": run_id, "ended": ended})
    connection.execute(_INSERT_EVENT, row)


def prune(connection: Connection, ended_before: float, most: int) -> int:
    """Removes at most `most` old runs, and names that are as old and belong to no run. Returns the number of runs."""
    connection.execute(_PRUNE_HANDLERS, (ended_before,))
    return connection.execute(_PRUNE, {"before": ended_before, "most": most}).rowcount
