"""The tables of the SQLite journal, and the migration of older databases."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from headwater_server.workflows.journal.base import JournalError

APPLICATION_ID = 0x48445754  # says in the file's header whose it is

_VERSION_1 = (
    """
    CREATE TABLE runs (
        position INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used again, so that pages stay right when runs go
        run_id TEXT NOT NULL UNIQUE,
        workflow_name TEXT NOT NULL,
        queue TEXT NOT NULL,
        request_id TEXT UNIQUE,
        fingerprint TEXT NOT NULL,
        created REAL NOT NULL,
        status TEXT NOT NULL,
        error TEXT NOT NULL,
        ended REAL NOT NULL,
        reserved INTEGER NOT NULL  -- numbers of events up to this one may have been used
    ) STRICT
    """,
    "CREATE INDEX runs_running ON runs (position) WHERE status = 'running'",
    "CREATE INDEX runs_ended ON runs (ended) WHERE status <> 'running'",
    """
    CREATE TABLE definitions (  -- apart from the runs, whose rows are written again with each commit
        run_id TEXT PRIMARY KEY REFERENCES runs (run_id) ON DELETE CASCADE,
        workflow TEXT NOT NULL,  -- JSON, without its agent
        agent BLOB NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE steps (
        run_id TEXT NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
        name TEXT NOT NULL,
        place INTEGER NOT NULL,  -- in the definition
        status TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        failures INTEGER NOT NULL,
        result TEXT NOT NULL,
        error TEXT NOT NULL,
        cause TEXT NOT NULL,  -- a JSON array
        started REAL NOT NULL,
        ended REAL NOT NULL,
        queue TEXT NOT NULL,
        PRIMARY KEY (run_id, name)
    ) STRICT
    """,
    """
    CREATE TABLE context (
        place INTEGER PRIMARY KEY,  -- the order of the keys
        run_id TEXT NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
        key TEXT NOT NULL,
        value TEXT NOT NULL,
        UNIQUE (run_id, key)
    ) STRICT
    """,
    """
    CREATE TABLE events (
        run_id TEXT NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
        sequence INTEGER NOT NULL,
        type TEXT NOT NULL,
        step TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        content TEXT NOT NULL,
        thinking TEXT NOT NULL,
        omitted INTEGER NOT NULL,
        result TEXT NOT NULL,
        error TEXT NOT NULL,
        delay_seconds REAL NOT NULL,
        queue TEXT NOT NULL,
        key TEXT NOT NULL,
        run_status TEXT,
        create_time REAL NOT NULL,
        marks BLOB,  -- of a merged chunk: see sqlite_rows
        PRIMARY KEY (run_id, sequence)
    ) STRICT
    """,
    """
    CREATE TABLE handlers (
        queue TEXT NOT NULL,
        name TEXT NOT NULL,
        seen REAL NOT NULL,  -- when a worker last registered it
        PRIMARY KEY (queue, name)
    ) STRICT, WITHOUT ROWID
    """,
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_VERSION_1,)
"""Statements that bring the schema from version n, which is 0 when empty, to n + 1. Never changed, only added to."""


def migrate(connection: sqlite3.Connection, path: Path, migrations: Sequence[Sequence[str]] = MIGRATIONS) -> None:
    """Brings the database at `path` to the newest version, each step in a separate transaction.

    Raises JournalError for a database of a newer version, or of another program.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if tables and owner != APPLICATION_ID:
        raise JournalError(f"the database {path} belongs to another program; choose another folder with --data-dir")
    if version > len(migrations):
        raise JournalError(
            f"a newer Headwater wrote the journal {path} (schema {version}, this one knows {len(migrations)}); "
            "upgrade Headwater, or choose another folder with --data-dir"
        )
    for target, statements in enumerate(migrations[version:], version + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in statements:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {target}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
