"""The versions of the journal's schema."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from headwater_server.workflows.journal.base import JournalError
from headwater_server.workflows.journal.schema import FIRST_VERSION, MIGRATIONS, migrate

INVENTED = (
    ("CREATE TABLE runs (run_id TEXT) STRICT", "INSERT INTO runs VALUES ('old')"),
    ("ALTER TABLE runs ADD COLUMN queue TEXT NOT NULL DEFAULT 'q'",),
    ("UPDATE runs SET queue = run_id || '/' || queue", "CREATE TABLE more (x TEXT) STRICT"),
)
PATH = Path("headwater.db")


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        yield connection


def version(connection: sqlite3.Connection) -> int:
    (value,) = connection.execute("PRAGMA user_version").fetchone()
    return int(value)


def test_an_empty_database_gets_the_newest_schema(connection: sqlite3.Connection) -> None:
    migrate(connection, PATH)
    assert version(connection) == FIRST_VERSION + len(MIGRATIONS) - 1
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    assert names >= {"runs", "steps", "context", "events", "handlers"}


def test_a_run_of_before_callers_keeps_its_request_id_and_belongs_to_nobody(connection: sqlite3.Connection) -> None:
    migrate(connection, PATH, MIGRATIONS[:4])
    facts = {"run_id": "run", "request_id": "r", "workflow_name": "w", "queue": "", "fingerprint": "f", "created": 1.0}
    facts |= {"status": "completed", "failure": "null", "failed_steps": "[]", "ended": 2.0, "reserved": 3}
    names, marks = ", ".join(facts), ", ".join("?" * len(facts))
    connection.execute(f"INSERT INTO runs ({names}) VALUES ({marks})", tuple(facts.values()))  # noqa: S608  no input
    migrate(connection, PATH)
    assert connection.execute("SELECT run_id, request_id, owner FROM runs").fetchall() == [("run", "r", "")]


def test_every_table_is_strict(connection: sqlite3.Connection) -> None:
    migrate(connection, PATH)
    lax = connection.execute("SELECT name FROM pragma_table_list WHERE strict = 0 AND name NOT LIKE 'sqlite%'")
    assert lax.fetchall() == []


@pytest.mark.parametrize("old", [1, 2])
def test_an_older_database_is_brought_up_step_by_step(connection: sqlite3.Connection, old: int) -> None:
    migrate(connection, PATH, INVENTED[:old], first=1)
    assert version(connection) == old
    migrate(connection, PATH, INVENTED, first=1)
    assert version(connection) == 3
    assert connection.execute("SELECT * FROM runs").fetchall() == [("old", "old/q")]


def test_a_database_of_today_is_left_alone(connection: sqlite3.Connection) -> None:
    migrate(connection, PATH, INVENTED, first=1)
    migrate(connection, PATH, INVENTED, first=1)
    assert connection.execute("SELECT * FROM runs").fetchall() == [("old", "old/q")]


def test_a_step_that_fails_is_undone_whole_and_the_steps_before_it_stay(connection: sqlite3.Connection) -> None:
    broken = (*INVENTED[:2], ("DELETE FROM runs", "nonsense"))
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, PATH, broken, first=1)
    assert version(connection) == 2
    assert connection.execute("SELECT * FROM runs").fetchall() == [("old", "q")]
    migrate(connection, PATH, INVENTED, first=1)
    assert version(connection) == 3


def test_a_newer_database_is_refused(connection: sqlite3.Connection) -> None:
    migrate(connection, PATH, INVENTED, first=1)
    with pytest.raises(JournalError, match=r"a newer Headwater wrote .*headwater.db \(schema 3, this one knows 2\)"):
        migrate(connection, PATH, INVENTED[:2], first=1)


def test_a_database_that_is_too_old_to_be_read_is_refused_and_not_touched(connection: sqlite3.Connection) -> None:
    migrate(connection, PATH, INVENTED[:1], first=1)
    with pytest.raises(JournalError, match=r"an older Headwater wrote .*headwater.db \(schema 1\).*move the file away"):
        migrate(connection, PATH)
    assert version(connection) == 1
    assert connection.execute("SELECT * FROM runs").fetchall() == [("old",)]


def test_a_database_of_another_program_is_refused_and_not_touched(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE theirs (x)")
    with pytest.raises(JournalError, match="belongs to another program"):
        migrate(connection, PATH)
    assert version(connection) == 0
