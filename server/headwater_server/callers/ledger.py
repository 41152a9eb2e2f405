"""How much each caller has asked, in a database that all processes of a server share; no event loop, one thread.

Theory of operation. Each limit of a minute is a bucket that leaks: it holds the requests, or tokens, of the last
minute, and loses a minute's worth in a minute, evenly. A request goes in if the bucket does not overflow by it. Its
tokens are not known before its end: it takes an estimate of its prompt along, and is put right when it leaves. The
bucket may then hold more than a minute's worth, of an hour at most, so that one wrong report of a provider does not
shut a caller out for longer. The rows of requests that run name their process, which deletes those that it left behind
when it starts again. Tokens of a month have a row for each month.

Nothing is kept in memory, so any number of callers may come. The times are of the machine's clock since its start,
which is the same for all processes and is never set; a time that lies ahead is from before a restart of the machine.
Only months go by the calendar: when the clock is set back, the month before counts again as it was.

Example. `requests_per_minute` is 60. 60 requests at once go in, and the 61st is refused: in 1 s there is room for one.
"""

from __future__ import annotations

import os
import sqlite3
import time
from calendar import monthrange
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from headwater_server.callers.limits import CallerLimits
from headwater_server.private_files import check_file, make_folder, open_private

FILE_NAME = "callers.db"
BUSY_SECONDS = 5.0
MONTHS = 13
"""Months that are kept."""
LONGEST_DEBT_MINUTES = 60
RETRY_SECONDS = 1.0
"""When a request may come again that found too many others running: none of them says when it ends."""
PRUNE_SECONDS = 600.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS month (
    month TEXT NOT NULL, caller TEXT NOT NULL, tokens INTEGER NOT NULL, requests INTEGER NOT NULL,
    PRIMARY KEY (month, caller)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS minute (
    caller TEXT NOT NULL PRIMARY KEY, requests REAL NOT NULL, tokens REAL NOT NULL, time REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS running (
    caller TEXT NOT NULL, process INTEGER NOT NULL, requests INTEGER NOT NULL, PRIMARY KEY (caller, process)
) WITHOUT ROWID;
PRAGMA user_version = 1;
"""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that was not let in: the limit that it would pass, and in how many seconds it may come again."""

    limit: str
    seconds: float


@dataclass(frozen=True, slots=True)
class MonthlyUse:
    """The tokens of a caller in a month, `2026-11`, and in how many requests."""

    month: str
    caller: str
    tokens: int
    requests: int


class Ledger:
    """The database in a folder, for one thread.

    Args:
        folder: the data directory.
        process: the number of this process.
        processes: how many there are.
        clock: seconds since the epoch.
        uptime: seconds since the start of the machine.

    Raises OSError and sqlite3.Error, as each method may.
    """

    def __init__(
        self,
        folder: Path,
        process: int = 0,
        processes: int = 1,
        clock: Callable[[], float] = time.time,
        uptime: Callable[[], float] = time.monotonic,
    ) -> None:
        self._process = process
        self._processes = processes
        self._clock = clock
        self._uptime = uptime
        self._pruned = 0.0
        make_folder(folder)
        self._db = _connect(folder / FILE_NAME)
        try:
            self._db.executescript(_SCHEMA)
            with self._db:
                self._db.execute("DELETE FROM running WHERE process = ?", (process,))
        except BaseException:
            self._db.close()
            raise

    def enter(self, caller: str, limits: CallerLimits, tokens: int) -> Refusal | None:
        """Begins a request of about so many tokens, which `leave` ends; or says why it may not begin."""
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            now = self._uptime()
            self._prune(now)
            requests, held = self._minute(caller, limits, now)
            refusal = self._refusal(caller, limits, requests, held + min(tokens, limits.tokens_per_minute or 0))
            if refusal is not None:
                return refusal
            if limits.requests_per_minute or limits.tokens_per_minute:
                self._fill(caller, requests + 1, held + tokens, now)
            if limits.max_concurrent:
                self._db.execute(
                    "INSERT INTO running VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET requests = requests + 1",
                    (caller, self._process),
                )
        return None

    def leave(self, caller: str, limits: CallerLimits, estimate: int, tokens: int) -> None:
        """Ends a request that has used so many tokens.

        Args:
            caller: as it was for `enter`, like the next two.
            limits: the limits with which it began.
            estimate: the tokens with which it began.
            tokens: those that it has used.
        """
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            if limits.max_concurrent:
                place = (caller, self._process)
                self._db.execute("UPDATE running SET requests = requests - 1 WHERE caller = ? AND process = ?", place)
                self._db.execute("DELETE FROM running WHERE caller = ? AND process = ? AND requests < 1", place)
            if limits.tokens_per_minute:
                now = self._uptime()
                requests, held = self._minute(caller, limits, now)
                most = limits.tokens_per_minute * LONGEST_DEBT_MINUTES
                self._fill(caller, requests, min(max(held + tokens - estimate, 0.0), most), now)
            if limits.monthly_tokens:
                self._db.execute(
                    "INSERT INTO month VALUES (?, ?, ?, 1) ON CONFLICT DO UPDATE SET"
                    " tokens = tokens + excluded.tokens, requests = requests + 1",
                    (_month(self._clock()), caller, tokens),
                )

    def _refusal(self, caller: str, limits: CallerLimits, requests: float, tokens: float) -> Refusal | None:
        """The limit that keeps a request out with which there would be so many tokens; None for none."""
        if limits.monthly_tokens:
            now = self._clock()
            found = self._one("SELECT tokens FROM month WHERE month = ? AND caller = ?", _month(now), caller)
            if found >= limits.monthly_tokens:
                return Refusal("monthly_tokens", _seconds_left(now))
        if limits.max_concurrent:
            running = self._one(
                "SELECT SUM(requests) FROM running WHERE caller = ? AND process < ?", caller, self._processes
            )
            if running >= limits.max_concurrent:
                return Refusal("max_concurrent", RETRY_SECONDS)
        if (most := limits.requests_per_minute) and requests + 1 > most:
            return Refusal("requests_per_minute", (requests + 1 - most) * 60 / most)
        if (most := limits.tokens_per_minute) and tokens > most:
            return Refusal("tokens_per_minute", (tokens - most) * 60 / most)
        return None

    def _minute(self, caller: str, limits: CallerLimits, now: float) -> tuple[float, float]:
        """The requests and the tokens that its buckets hold now."""
        row = self._db.execute("SELECT requests, tokens, time FROM minute WHERE caller = ?", (caller,)).fetchone()
        if row is None or row[2] > now:
            return 0.0, 0.0
        minutes = (now - row[2]) / 60
        return (
            max(row[0] - minutes * (limits.requests_per_minute or 0), 0.0) if limits.requests_per_minute else 0.0,
            max(row[1] - minutes * (limits.tokens_per_minute or 0), 0.0) if limits.tokens_per_minute else 0.0,
        )

    def _fill(self, caller: str, requests: float, tokens: float, now: float) -> None:
        self._db.execute("INSERT OR REPLACE INTO minute VALUES (?, ?, ?, ?)", (caller, requests, tokens, now))

    def _one(self, query: str, *values: object) -> int:
        """The number that a query finds; 0 where it finds none."""
        row = self._db.execute(query, values).fetchone()
        return int(row[0] or 0) if row else 0

    def _prune(self, now: float) -> None:
        """Deletes now and then the rows that count no more."""
        if self._pruned and now - self._pruned < PRUNE_SECONDS:
            return
        self._pruned = now
        oldest = now - (LONGEST_DEBT_MINUTES + 1) * 60
        self._db.execute("DELETE FROM minute WHERE time < ? OR time > ?", (oldest, now))
        first = datetime.fromtimestamp(self._clock(), UTC) - timedelta(days=31 * MONTHS)
        self._db.execute("DELETE FROM month WHERE month < ?", (f"{first:%Y-%m}",))

    def close(self) -> None:
        """Closes the database."""
        self._db.close()


def monthly_use(folder: Path) -> list[MonthlyUse]:
    """The tokens of callers with a monthly limit, newest month first. Raises OSError and sqlite3.Error."""
    file = folder / FILE_NAME
    check_file(file)
    if not file.exists():
        return []
    with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS)) as db:
        rows = db.execute("SELECT month, caller, tokens, requests FROM month ORDER BY month DESC, caller")
        return [MonthlyUse(*row) for row in rows]


def _connect(file: Path) -> sqlite3.Connection:
    os.close(open_private(file))  # for this user alone; SQLite gives its other files the same mode
    db = sqlite3.connect(file, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        # A killed process loses nothing; a machine that loses its power may lose the last moments, and stays readable.
        db.execute("PRAGMA synchronous = NORMAL")
    except BaseException:
        db.close()
        raise
    return db


def _month(now: float) -> str:
    return f"{datetime.fromtimestamp(now, UTC):%Y-%m}"


def _seconds_left(now: float) -> float:
    """The seconds until the next month."""
    today = datetime.fromtimestamp(now, UTC)
    days = monthrange(today.year, today.month)[1]
    following = today.replace(day=1, hour=0, minute=0, second=0, microsecond=0) + timedelta(days=days)
    return following.timestamp() - now
