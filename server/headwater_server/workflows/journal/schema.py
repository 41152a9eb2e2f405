"""The tables of the SQLite journal, and the migration of older databases."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from headwater_server.workflows.journal.base import JournalError, JournalFolderError

APPLICATION_ID = 0x48445754  # says in the file's header whose it is

_INCREMENTAL = 2  # of PRAGMA auto_vacuum
FIRST_VERSION = 2
"""The oldest schema that is understood.

Schema 1 was never released. It kept a run's agent as the bytes of a message that no longer exists, which only
`transport` could have read. A run without its agent must not continue with another one, so such a journal is refused
instead of converted.
"""

_VERSION_2 = (
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
        failure TEXT NOT NULL,  -- JSON
        failed_steps TEXT NOT NULL,  -- a JSON array
        ended REAL NOT NULL,
        reserved INTEGER NOT NULL  -- numbers of events up to this one may have been used
    ) STRICT
    """,
    "CREATE INDEX runs_running ON runs (position) WHERE status = 'running'",
    "CREATE INDEX runs_ended ON runs (ended) WHERE status <> 'running'",
    """
    CREATE TABLE definitions (  -- apart from the runs, whose rows are written again with each commit
        run_id TEXT PRIMARY KEY REFERENCES runs (run_id) ON DELETE CASCADE,
        workflow TEXT NOT NULL  -- JSON
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
        failure TEXT NOT NULL,  -- JSON
        skip_reason TEXT,
        skipped_because_of TEXT NOT NULL,  -- a JSON array
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
        facts TEXT NOT NULL,  -- what only some types have: a JSON object
        create_time REAL NOT NULL,
        marks BLOB,  -- of a merged chunk: see rows
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

_VERSION_3 = ("ALTER TABLE steps ADD COLUMN reply TEXT NOT NULL DEFAULT 'null'",)  # JSON

_VERSION_4 = (
    "ALTER TABLE steps ADD COLUMN progress TEXT NOT NULL DEFAULT ''",  # JSON; empty for none
    "ALTER TABLE runs ADD COLUMN origin TEXT NOT NULL DEFAULT '{}'",  # a JSON object
)

_VERSION_5 = (
    "ALTER TABLE events ADD COLUMN first INTEGER NOT NULL DEFAULT 0",  # of a merged chunk: number of its first piece
    "CREATE INDEX events_chunks ON events (run_id, sequence, first) WHERE type = 'step_chunk'",
)

# A request id is unique among those of one caller. The former column was unique in all, and that cannot be taken off.
_VERSION_6 = (
    "ALTER TABLE runs RENAME COLUMN request_id TO former_request_id",  # empty from now on
    "ALTER TABLE runs ADD COLUMN request_id TEXT",
    "ALTER TABLE runs ADD COLUMN owner TEXT NOT NULL DEFAULT ''",  # name of the caller
    "UPDATE runs SET request_id = former_request_id, former_request_id = NULL",
    "CREATE UNIQUE INDEX runs_requests ON runs (owner, request_id)",
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_VERSION_2, _VERSION_3, _VERSION_4, _VERSION_5, _VERSION_6)
"""Statements: the first make FIRST_VERSION of an empty database, each of the others adds 1. Only added to."""


def make_shrinkable(connection: sqlite3.Connection) -> None:
    """Lets the file get smaller when runs are removed. One that cannot yet is written again, once."""
    (mode,) = connection.execute("PRAGMA auto_vacuum").fetchone()
    if mode != _INCREMENTAL:
        connection.execute(f"PRAGMA auto_vacuum = {_INCREMENTAL}")
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        (owner,) = connection.execute("PRAGMA application_id").fetchone()
        if tables and owner == APPLICATION_ID:
            connection.execute("VACUUM")


def migrate(
    connection: sqlite3.Connection,
    path: Path,
    migrations: Sequence[Sequence[str]] = MIGRATIONS,
    first: int = FIRST_VERSION,
) -> None:
    """Brings the database at `path` to the newest version, each step in a separate transaction.

    Raises JournalError for a database that is older than the version `first`, newer than the newest, or of another
    program.
    """
    newest = first + len(migrations) - 1
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if tables and owner != APPLICATION_ID:
        raise JournalFolderError(
            f"the database {path} belongs to another program; choose another folder with --data-dir"
        )
    if version > newest:
        raise JournalError(
            f"a newer Headwater wrote the journal {path} (schema {version}, this one knows {newest}); "
            "upgrade Headwater, or choose another folder with --data-dir"
        )
    if 0 < version < first:
        raise JournalError(
            f"an older Headwater wrote the journal {path} (schema {version}), and this one cannot read its runs; "
            "move the file away, or choose another folder with --data-dir"
        )
    for target, statements in enumerate(migrations, first):
        if target <= version:
            continue
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
