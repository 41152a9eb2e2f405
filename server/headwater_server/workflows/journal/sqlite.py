"""The embedded journal: one SQLite database in the data directory.

Theory of operation. One thread owns the connection. Each read or write is a job in its queue. The thread takes all jobs
that wait, and puts their writes into one transaction, so that many runs share the cost of one sync of the disk. Reads
follow one by one, and writes that come meanwhile before the next of them. Within a transaction every job has a
savepoint: a job that fails is undone alone, and its caller gets the error. A caller gets its result only after the
COMMIT, which with `synchronous=FULL` returns when the disk has the data. A caller that is cancelled does not stop its
job.

The directory is locked while the journal is open, by a lock of the operating system that ends with the process: two
servers that both resume the same runs would run steps twice.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeVar

import structlog

from headwater_server.domain.failure import Failure
from headwater_server.domain.workflow import RunState, RunStatus
from headwater_server.eventlog.stored_events import StoredEvent
from headwater_server.telemetry.logging import fault_facts
from headwater_server.workflows.journal import damage, statements
from headwater_server.workflows.journal.base import (
    Change,
    EventPage,
    JournalError,
    RunInfo,
    RunSummary,
    StoredRun,
)
from headwater_server.workflows.journal.data_directory import SQLITE_ENDINGS, DataDirectory
from headwater_server.workflows.journal.errors import explained, unreadable
from headwater_server.workflows.journal.fill import Fill
from headwater_server.workflows.journal.schema import make_shrinkable, migrate

FILE_NAME = "headwater.db"
BUSY_TIMEOUT_SECONDS = 5.0  # another tool may have the file open
PROBE_EVERY_SECONDS = 1.0
DEFAULT_MAX_BYTES = 10 * 2**30
MAX_LOG_BYTES = 16 * 2**20  # of SQLite's write-ahead log while it is idle
PAGES_AT_ONCE = 1_000
PRUNE_AT_ONCE = 50  # few, so that commits do not wait long

T = TypeVar("T")

log = structlog.get_logger("headwater.journal")


class _Job:
    """A function to call with the connection, and its result or error."""

    __slots__ = ("error", "future", "run", "value", "writes")

    def __init__(self, run: Callable[[sqlite3.Connection], Any], writes: bool, future: asyncio.Future[Any]) -> None:
        self.run = run
        self.writes = writes
        self.future = future
        self.value: Any = None
        self.error: Exception | None = None


class SqliteJournal:
    """The journal in a folder; made by `open`. See the module's theory of operation, and `journal.Journal`."""

    def __init__(self, directory: Path, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._fill = Fill(max_bytes)  # of the thread
        self._loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._closed = False
        self._fault: Exception | None = None
        self.is_writable = True
        self._trouble = ""  # why the last write failed; empty when it did not
        self.changed = asyncio.Event()
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._reads: deque[_Job] = deque()  # of the thread: they wait for their turn
        self._closing = False  # of the thread
        self._connection: sqlite3.Connection
        self._thread = Thread(target=self._serve, name="headwater journal", daemon=True)

    @classmethod
    async def open(cls, directory: Path, max_bytes: int = DEFAULT_MAX_BYTES) -> SqliteJournal:
        """Opens the journal in a folder, which is made if it is missing.

        With more than `max_bytes` of content it takes no more runs. Those that it has may need a quarter more.

        Raises JournalLockedError when another process has it; JournalError when the folder cannot be used, the file is
        damaged or not a journal, or a newer version wrote it.
        """
        journal = cls(directory, max_bytes)
        journal._thread.start()
        try:
            await journal._opened
        except BaseException:
            await journal.close()
            raise
        return journal

    def disk_bytes(self) -> int:
        """The size of its files; also for other threads."""
        sizes = []
        for ending in ("", *SQLITE_ENDINGS):
            with suppress(FileNotFoundError):
                sizes.append((self._directory / f"{FILE_NAME}{ending}").stat().st_size)
        return sum(sizes)

    async def create(self, info: RunInfo, state: RunState, change: Change) -> None:
        """See `Journal.create`."""
        run, rows = statements.RunRows.of(info, state), statements.ChangeRows.of(info.run_id, change)
        await self._do(partial(statements.create, run=run, change=rows, max_bytes=self._max_bytes), writes=True)

    async def commit(self, run_id: str, change: Change) -> None:
        """See `Journal.commit`."""
        await self._do(partial(statements.commit, change=statements.ChangeRows.of(run_id, change)), writes=True)

    async def status(self, run_id: str) -> RunStatus | None:
        """See `Journal.status`."""
        return await self._do(partial(statements.status, run_id=run_id))

    async def load(self, run_id: str) -> StoredRun | None:
        """See `Journal.load`."""
        return await self._do(partial(statements.load, run_id=run_id))

    async def owner(self, run_id: str) -> str | None:
        """See `Journal.owner`."""
        return await self._do(partial(statements.owner, run_id=run_id))

    async def find(self, request_id: str, owner: str) -> tuple[str, str] | None:
        """See `Journal.find`."""
        return await self._do(partial(statements.find, request_id=request_id, owner=owner))

    async def events(self, run_id: str, after: int) -> list[StoredEvent]:
        """See `Journal.events`."""
        return await self._do(partial(statements.events, run_id=run_id, after=after))

    async def event_page(self, run_id: str, after: int, *, large: bool = False) -> EventPage:
        """See `Journal.event_page`."""
        return await self._do(partial(statements.event_page, run_id=run_id, after=after, large=large))

    async def unfinished(self) -> list[str]:
        """See `Journal.unfinished`."""
        return await self._do(statements.unfinished)

    async def page(
        self, before: int, size: int, status: RunStatus | None, workflow_name: str, since: float, owner: str | None
    ) -> list[RunSummary]:
        """See `Journal.page`."""
        query = partial(
            statements.page,
            before=before,
            size=size,
            status=status,
            workflow_name=workflow_name,
            since=since,
            owner=owner,
        )
        return await self._do(query)

    async def remember_handlers(self, queue: str, names: Iterable[str]) -> None:
        """See `Journal.remember_handlers`."""
        await self._do(partial(statements.remember_handlers, queue=queue, names=list(names)), writes=True)

    async def handlers(self, queue: str) -> frozenset[str]:
        """See `Journal.handlers`."""
        return await self._do(partial(statements.handlers, queue=queue))

    async def prune(self, ended_before: float) -> int:
        """See `Journal.prune`."""
        total = 0
        prune = partial(statements.prune, ended_before=ended_before, most=PRUNE_AT_ONCE)
        while removed := await self._do(prune, writes=True):
            total += removed
        await self._shrink()
        return total

    async def fail(self, run_id: str, failure: Failure, ended: float) -> None:
        """See `Journal.fail`."""
        await self._do(partial(statements.fail, run_id=run_id, failure=failure, ended=ended), writes=True)

    async def delete(self, run_id: str) -> None:
        """See `Journal.delete`."""
        await self._do(partial(statements.delete, run_id=run_id), writes=True)
        await self._shrink()

    async def _shrink(self) -> None:
        """Gives free space back to the disk, in pieces between which other writes have their turn."""
        give_back = partial(statements.give_back, pages=PAGES_AT_ONCE)
        left = await self._do(give_back, writes=True)
        while left and (now := await self._do(give_back, writes=True)) < left:
            left = now
        await self._do(statements.checkpoint)

    async def close(self) -> None:
        """See `Journal.close`. May be called again."""
        if not self._closed:
            self._closed = True
            self._jobs.put(None)
        await asyncio.shield(self._ended)
        self._thread.join()  # it has nothing more to do

    async def _do(self, run: Callable[[sqlite3.Connection], T], *, writes: bool = False) -> T:
        if self._closed:
            raise JournalError(f"the journal in {self._directory} is closed")
        if self._fault is not None:
            raise self._fault
        future: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put(_Job(run, writes, future))
        return await future

    def _note_writable(self, writable: bool) -> None:
        if writable != self.is_writable:
            self.is_writable = writable
            self.changed.set()
            if writable:
                log.info("journal", why="it can be written again")

    # The rest runs on the journal's thread.

    def _serve(self) -> None:
        try:
            with closing(DataDirectory(self._directory)) as directory, closing(self._open(directory)) as connection:
                self._connection = connection
                self._tell(_succeed, self._opened, None)
                while self._serve_batch():
                    pass
        except Exception as error:  # noqa: BLE001  goes to the caller of `open`, or to every later caller
            self._tell(self._died, explained(error, self._directory / FILE_NAME))
        self._tell(_succeed, self._ended, None)

    def _died(self, error: Exception) -> None:
        """The thread has ended by an error: the calls that wait for it fail with that, and all later ones."""
        self._fault = error
        if self._opened.done():
            log.error("journal", why=str(error), **fault_facts(error))
            self._note_writable(False)
        _fail(self._opened, error)
        with suppress(Empty):
            while True:
                if (job := self._jobs.get_nowait()) is not None:
                    _fail(job.future, error)

    def _open(self, directory: DataDirectory) -> sqlite3.Connection:
        path = directory.private_file(FILE_NAME)
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None)
        try:
            connection.row_factory = sqlite3.Row
            connection.text_factory = damage.read_text
            connection.execute("PRAGMA foreign_keys = ON")
            make_shrinkable(connection)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA journal_size_limit = {MAX_LOG_BYTES}")
            migrate(connection, path)
            (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
            connection.execute(f"PRAGMA max_page_count = {self._max_bytes * 5 // 4 // page_bytes}")
        except Exception as error:  # noqa: BLE001  raised again as damage
            connection.close()
            trouble = unreadable(error, path)
            raise trouble from trouble.__cause__
        return connection

    def _serve_batch(self) -> bool:
        """Does all writes that wait, and one read. Returns False when the journal is to close and nothing waits."""
        jobs: list[_Job] = []
        try:
            if not self._reads and not self._closing:
                jobs += self._taken(self._jobs.get(timeout=None if self.is_writable else PROBE_EVERY_SECONDS))
            with suppress(Empty):
                while True:
                    jobs += self._taken(self._jobs.get_nowait())
        except Empty:
            self._write_or_fail([_Job(statements.probe, True, self._loop.create_future())])
            return True
        try:
            if jobs:
                self._write_or_fail(jobs)
            if self._reads:
                jobs.append(self._reads.popleft())
                self._attempt(jobs[-1])
        except Exception as error:
            jobs += self._reads
            for job in jobs:
                job.error = job.error or error
            raise
        finally:
            self._tell(_answer, jobs)
        return bool(self._reads) or not self._closing

    def _taken(self, job: _Job | None) -> list[_Job]:
        """Notes a job of the queue; the job when it is a write."""
        if job is None:
            self._closing = True
        elif job.writes:
            return [job]
        else:
            self._reads.append(job)
        return []

    def _write_or_fail(self, batch: Sequence[_Job]) -> None:
        try:
            self._write(batch)
        except Exception as error:  # noqa: BLE001  goes to every caller: nothing of the batch is kept
            with suppress(sqlite3.Error):  # if the database cannot even do this, the next batch fails too
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
            trouble = explained(error, self._directory / FILE_NAME)
            for job in batch:
                job.error = trouble
            self._note_trouble(str(trouble))
            self._tell(self._note_writable, False)
        else:
            why = next((str(job.error) for job in batch if isinstance(job.error, JournalError)), "")
            self._note_trouble(why)
            self._tell(self._note_writable, not why)

    def _note_trouble(self, why: str) -> None:
        """Logs trouble when it begins or changes. Meanwhile nothing waits for a lock: reads wait behind writes."""
        if why == self._trouble:
            return
        if why:
            log.error("journal", why=why)
        self._trouble = why
        wait = 0 if why else int(BUSY_TIMEOUT_SECONDS * 1000)
        self._connection.execute(f"PRAGMA busy_timeout = {wait}")

    def _write(self, batch: Sequence[_Job]) -> None:
        """Writes a batch in one transaction. Callers get their results after this has returned."""
        self._connection.execute("BEGIN IMMEDIATE")
        for job in batch:
            self._connection.execute("SAVEPOINT job")
            self._attempt(job)
            if job.error is not None:
                if not self._connection.in_transaction:
                    raise job.error  # SQLite has undone the whole transaction, as on a full disk
                self._connection.execute("ROLLBACK TO job")
            self._connection.execute("RELEASE job")
        self._connection.execute("COMMIT")
        self._fill.note(statements.size(self._connection))

    def _attempt(self, job: _Job) -> None:
        try:
            job.value = job.run(self._connection)
        except Exception as error:  # noqa: BLE001  goes to the caller
            job.error = (explained if job.writes else unreadable)(error, self._directory / FILE_NAME)

    def _tell(self, callback: Callable[..., None], *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop is closed, so no caller waits any more
            self._loop.call_soon_threadsafe(callback, *arguments)


def _answer(jobs: Sequence[_Job]) -> None:
    for job in jobs:
        if job.error is not None:
            _fail(job.future, job.error)
        else:
            _succeed(job.future, job.value)


def _succeed(future: asyncio.Future[Any], value: object) -> None:
    if not future.done():
        future.set_result(value)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
