"""The embedded journal: it keeps changes together or not at all, and reports when it cannot."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from headwater_server.domain.errors import Reason
from headwater_server.domain.failure import Failure, ProviderFacts
from headwater_server.domain.messages import AgentConfig, CacheHint, ResponseFormat, ResponseFormatType, Tool
from headwater_server.domain.workflow import (
    EventType,
    RetryPolicy,
    RunEvent,
    RunState,
    RunStatus,
    SkipReason,
    Step,
    StepState,
    StepStatus,
    Workflow,
)
from headwater_server.eventlog.stored_events import ChunkMark, StoredEvent
from headwater_server.workflows.journal.base import (
    Change,
    JournalError,
    JournalFullError,
    JournalLockedError,
    RunChange,
    RunInfo,
    RunSummary,
)
from headwater_server.workflows.journal.sqlite import FILE_NAME, SqliteJournal
from tests.support.runs.run_log import BEGUN, run_info, run_state

STRANGE = 'Ω\0"\n\u2028𝄞'
FAILURE = Failure(
    Reason.PROVIDER_RATE_LIMITED,
    STRANGE,
    "RateLimit",
    non_retryable=True,
    retry_delay_seconds=2.5,
    provider=ProviderFacts("openai", "m", 429, "busy", "req"),
    cause=Failure(Reason.INTERNAL, "before"),
)
AGENT = AgentConfig(
    "m",
    "openai",
    STRANGE,
    CacheHint(3600.0),
    {"temperature": 1.0, "seed": 1, "stop": ["a"], "reasoning_effort": "low"},
    (Tool("t", "d", {"z": 9007199254740993, "a": [3.0, 10**30]}),),
    response_format=ResponseFormat(ResponseFormatType.JSON_SCHEMA, {"b": 1, "a": 2}),
    drop_unsupported=True,
    first_chunk_seconds=1.5,
    provider_options={"openai": {"k": None, STRANGE: {"n": 3.0}}},
    labels={"team": "x"},
    user="u",
)


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[SqliteJournal]:
    journal = await SqliteJournal.open(tmp_path)
    yield journal
    await journal.close()


async def create(journal: SqliteJournal, run_id: str, *, request_id: str = "") -> RunInfo:
    info = run_info(run_id, request_id=request_id)
    await journal.create(info, run_state(info), Change(events=[BEGUN], reserved=1))
    return info


def event(number: int) -> StoredEvent:
    return StoredEvent(RunEvent(EventType.STEP_STARTED, step="a", attempt=1, sequence=number, create_time=2.0))


# The data that is kept.


async def test_every_field_of_a_run_comes_back(journal: SqliteJournal) -> None:
    step = Step(
        name=STRANGE, action="do", handler="h", depends_on=("x", "y"), condition="context.k", timeout_seconds=0.1,
        retry_policy=RetryPolicy(0.5, 1.5, 7.0, 1), exclusive=True, description="d", metadata='{"k": 3.0}', queue="q2",
    )  # fmt: skip
    steps = (step, Step("x"), Step("y", timeout_seconds=None))
    workflow = Workflow(STRANGE, steps, "about", AGENT, "id", 12.5)
    info = RunInfo("run", workflow, "q", "request", "print", 1700000000.123456)
    state = RunState(
        {
            STRANGE: StepState(
                STRANGE,
                StepStatus.SKIPPED,
                3,
                2,
                '"r"',
                FAILURE,
                SkipReason.DEPENDENCY_FAILED,
                ("x", "y"),
                1.5,
                2.5,
                "q3",
            ),
            "x": StepState("x"),
            "y": StepState("y"),
        },
        {"z": "1", "a": "1.0", STRANGE: json.dumps(STRANGE)},
        RunStatus.FAILED,
        FAILURE,
        ("x", "y"),
    )
    await journal.create(info, state, Change(events=[BEGUN], reserved=7))
    stored = await journal.load("run")
    assert stored is not None
    assert (stored.info, stored.state, stored.reserved, stored.ended) == (info, state, 7, 0.0)
    assert list(stored.state.context) == list(state.context)
    assert list(stored.state.steps) == list(state.steps)
    schema = stored.info.workflow.agent.tools[0].parameters
    assert (list(schema), str(schema["a"])) == (["z", "a"], str([3.0, 10**30]))


async def test_every_field_of_an_event_comes_back(journal: SqliteJournal) -> None:
    await create(journal, "run")
    full = RunEvent(
        EventType.RUN_WARNING, step=STRANGE, attempt=2, content="c" + STRANGE, thinking="t", omitted=5, result="3.0",
        workflow_name="w", failure=FAILURE, skip_reason=SkipReason.CONDITION_FALSE, because_of=("x", "y"), delay_seconds=0.2,
        queue="q", message="m", context_key="k", run_status=RunStatus.FAILED, failed_steps=("z",), sequence=9, create_time=1.25,
    )  # fmt: skip
    marks = (ChunkMark(3, 1, 0), ChunkMark(4, 1, 40_000), ChunkMark(1_000_009, 2_000_000_000, 40_001))
    events = [StoredEvent(full), StoredEvent(RunEvent(EventType.STEP_CHUNK, sequence=10), marks)]
    await journal.commit("run", Change(events=events))
    assert await journal.events("run", 0) == [BEGUN, *events]
    assert await journal.events("run", 9) == events[1:]


async def test_marks_of_small_chunks_take_three_bytes_each(tmp_path: Path, journal: SqliteJournal) -> None:
    await create(journal, "run")
    marks = tuple(ChunkMark(10 + i, 5 * i, 0) for i in range(1000))
    chunk = StoredEvent(RunEvent(EventType.STEP_CHUNK, sequence=1009), marks)
    await journal.commit("run", Change(events=[chunk]))
    with closing(sqlite3.connect(tmp_path / "headwater.db")) as connection:
        ((size,),) = connection.execute("SELECT length(marks) FROM events WHERE marks IS NOT NULL").fetchall()
    assert size < 3100


async def test_a_commit_changes_what_it_names_and_nothing_else(journal: SqliteJournal) -> None:
    info = run_info("run")
    state = run_state(info)
    state.context = {"gone": "1", "kept": "2", "changed": "3", "again": "4"}
    await journal.create(info, state, Change(events=[BEGUN], reserved=1))
    done = StepState("b", StepStatus.COMPLETED, 1, 0, '"r"', started=1.0, ended=2.0)
    await journal.commit(
        "run",
        Change(
            steps=[done], context={"new": "5", "changed": "6", "again": "7"}, deleted=["gone", "again"],
            events=[event(2)], reserved=1000,
        ),
    )  # fmt: skip
    await journal.commit("run", Change(events=[event(3)]))
    stored = await journal.load("run")
    assert stored is not None
    assert stored.state.steps == {"a": StepState("a"), "b": done}
    assert list(stored.state.context.items()) == [("kept", "2"), ("changed", "6"), ("new", "5"), ("again", "7")]
    assert (stored.reserved, stored.state.status) == (1000, RunStatus.RUNNING)


async def test_the_status_changes_with_its_failure_and_time_and_back(journal: SqliteJournal) -> None:
    await create(journal, "run")
    await journal.commit("run", Change(status=RunChange(RunStatus.FAILED, FAILURE, ("a",), 9.0)))
    await journal.commit("run", Change(reserved=5))
    stored = await journal.load("run")
    assert stored is not None
    assert (stored.state.status, stored.state.failure, stored.ended) == (RunStatus.FAILED, FAILURE, 9.0)
    assert stored.state.failed_steps == ("a",)
    assert await journal.unfinished() == []
    await journal.commit("run", Change(status=RunChange(RunStatus.RUNNING)))
    stored = await journal.load("run")
    assert stored is not None
    assert (stored.state.status, stored.state.failure, stored.ended) == (RunStatus.RUNNING, None, 0.0)
    assert stored.state.failed_steps == ()
    assert await journal.unfinished() == ["run"]


async def test_all_of_it_is_there_after_closing_and_opening(tmp_path: Path) -> None:
    journal = await SqliteJournal.open(tmp_path)
    info = await create(journal, "run", request_id="r")
    await journal.remember_handlers("q", ["h"])
    await journal.close()
    journal = await SqliteJournal.open(tmp_path)
    stored = await journal.load("run")
    assert stored is not None
    assert stored.info == info
    assert await journal.find("r", "") == ("run", "f")
    assert await journal.handlers("q") == {"h"}
    await journal.close()


async def test_what_is_not_there_is_none(journal: SqliteJournal) -> None:
    assert await journal.load("run") is None
    assert await journal.find("r", "") is None
    assert await journal.events("run", 0) == []
    assert await journal.handlers("q") == frozenset()


async def test_a_request_id_starts_one_run(journal: SqliteJournal) -> None:
    await create(journal, "one", request_id="r")
    with pytest.raises(KeyError):
        await create(journal, "two", request_id="r")
    await create(journal, "three")
    await create(journal, "four")
    assert await journal.unfinished() == ["one", "three", "four"]


async def test_a_request_id_and_a_page_are_of_one_caller(journal: SqliteJournal) -> None:
    for owner in ("alice", "bob"):
        info = replace(run_info(f"run of {owner}", request_id="r"), owner=owner)
        await journal.create(info, run_state(info), Change(events=[BEGUN], reserved=1))
    assert await journal.find("r", "bob") == ("run of bob", "f")
    assert await journal.find("r", "") is None
    assert await journal.owner("run of alice") == "alice"
    assert await journal.owner("another") is None
    assert ids(await journal.page(0, 9, None, "", 0.0, "alice")) == ["run of alice"]
    assert ids(await journal.page(0, 9, None, "", 0.0, None)) == ["run of bob", "run of alice"]


async def test_two_runs_at_once_with_one_request_id_are_one_run(journal: SqliteJournal) -> None:
    both = (create(journal, run_id, request_id="r") for run_id in ("one", "two"))
    outcomes = await asyncio.gather(*both, return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["KeyError", "RunInfo"]


async def test_a_change_of_a_run_or_a_step_that_is_not_there_is_refused_whole(journal: SqliteJournal) -> None:
    with pytest.raises(KeyError):
        await journal.commit("none", Change(reserved=1))
    await create(journal, "run")
    with pytest.raises(KeyError):
        await journal.commit("run", Change(steps=[StepState("none")], reserved=9))
    stored = await journal.load("run")
    assert stored is not None
    assert stored.reserved == 1


async def test_handlers_are_remembered_by_queue(journal: SqliteJournal) -> None:
    await journal.remember_handlers("q", ["a", "b"])
    await journal.remember_handlers("q", ["b", "c"])
    await journal.remember_handlers("other", ["d"])
    assert await journal.handlers("q") == {"a", "b", "c"}


async def test_names_that_nobody_registered_again_go_unless_a_run_is_on_their_queue(journal: SqliteJournal) -> None:
    used = (await create(journal, "run")).queue
    for queue in (used, "left"):
        await journal.remember_handlers(queue, ["h"])
    await journal.prune(time.time() - 60)
    assert await journal.handlers("left") == {"h"}
    await journal.prune(time.time() + 60)
    assert await journal.handlers("left") == frozenset()
    assert await journal.handlers(used) == {"h"}


# Lists and retention.


def ids(runs: Sequence[RunSummary]) -> list[str]:
    return [run.run_id for run in runs]


async def test_runs_are_listed_newest_first_in_pages(journal: SqliteJournal) -> None:
    for i in range(5):
        await create(journal, f"run{i}")
    first = await journal.page(0, 2, None, "", 0.0, None)
    assert ids(first) == ["run4", "run3"]
    assert ids(await journal.page(first[-1].position, 9, None, "", 0.0, None)) == ["run2", "run1", "run0"]


async def test_a_list_has_what_matches(journal: SqliteJournal) -> None:
    for i, name in enumerate(["x", "y", "x"]):
        info = RunInfo(f"run{i}", Workflow(name, (Step("a", action="b"),)), "q", "", "f", float(i))
        await journal.create(info, run_state(info), Change(events=[BEGUN]))
    await journal.commit("run0", Change(status=RunChange(RunStatus.FAILED, FAILURE, ("a",), 7.0)))
    assert ids(await journal.page(0, 9, None, "x", 0.0, None)) == ["run2", "run0"]
    assert ids(await journal.page(0, 9, None, "", 1.0, None)) == ["run2", "run1"]
    (failed,) = await journal.page(0, 9, RunStatus.FAILED, "", 0.0, None)
    assert failed == RunSummary(failed.position, "run0", "x", "q", RunStatus.FAILED, FAILURE, ("a",), 0.0, 7.0)


async def test_pruning_removes_everything_of_old_runs_and_nothing_else(tmp_path: Path, journal: SqliteJournal) -> None:
    for i in range(120):
        await create(journal, f"old{i}")
        change = Change(context={"k": "1"}, status=RunChange(RunStatus.COMPLETED, ended=5.0))
        await journal.commit(f"old{i}", change)
    await create(journal, "running")
    await create(journal, "young")
    await journal.commit("young", Change(context={"k": "1"}, status=RunChange(RunStatus.FAILED, ended=11.0)))
    assert await journal.prune(10.0) == 120
    assert ids(await journal.page(0, 999, None, "", 0.0, None)) == ["young", "running"]
    with closing(sqlite3.connect(tmp_path / "headwater.db")) as connection:
        for table, left in (("runs", 2), ("steps", 4), ("context", 1), ("events", 2)):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (left,)  # noqa: S608
    assert await journal.prune(10.0) == 0


async def test_the_position_of_a_pruned_run_is_not_used_again(journal: SqliteJournal) -> None:
    await create(journal, "one")
    (one,) = await journal.page(0, 1, None, "", 0.0, None)
    await journal.commit("one", Change(status=RunChange(RunStatus.COMPLETED, ended=5.0)))
    await journal.prune(10.0)
    await create(journal, "two")
    (two,) = await journal.page(0, 1, None, "", 0.0, None)
    assert two.position > one.position


# Transactions.


class Batches:
    """Sees the batches that are written; holds the thread up before the first one until `go` is set."""

    def __init__(self, journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        self.go = threading.Event()
        write = journal._write

        def held(batch: Sequence[object]) -> None:
            self.go.wait(10)
            self.sizes.append(len(batch))
            write(batch)  # type: ignore[arg-type]

        monkeypatch.setattr(journal, "_write", held)


async def test_writes_that_come_during_a_write_share_the_next_transaction(
    journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [f"run{i}" for i in range(50)]
    for run in runs:
        await create(journal, run)
    batches = Batches(journal, monkeypatch)
    commits = [asyncio.create_task(journal.commit(run, Change(events=[event(2)]))) for run in runs]
    await asyncio.sleep(0)
    batches.go.set()
    await asyncio.gather(*commits)
    assert sum(batches.sizes) == 50
    assert len(batches.sizes) <= 2


async def test_a_write_that_fails_does_not_take_the_others_of_its_batch_down(
    journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    for run in ("a", "b", "c"):
        await create(journal, run)
    batches = Batches(journal, monkeypatch)
    twice = Change(events=[event(2), event(3), event(3)], context={"k": "1"}, reserved=50)
    writes = [
        asyncio.create_task(journal.remember_handlers("q", ["h"])),
        asyncio.create_task(journal.commit("a", Change(events=[event(2)]))),
        asyncio.create_task(journal.commit("b", twice)),
        asyncio.create_task(journal.commit("none", Change())),
        asyncio.create_task(journal.commit("c", Change(events=[event(2)]))),
    ]
    await asyncio.sleep(0)
    batches.go.set()
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    assert [type(outcome).__name__ for outcome in outcomes] == [
        "NoneType", "NoneType", "IntegrityError", "KeyError", "NoneType",
    ]  # fmt: skip
    assert len(batches.sizes) <= 2
    for run, numbers in (("a", [1, 2]), ("b", [1]), ("c", [1, 2])):
        assert [stored.event.sequence for stored in await journal.events(run, 0)] == numbers
    stored = await journal.load("b")
    assert stored is not None
    assert (stored.state.context, stored.reserved) == ({}, 1)


async def test_when_the_commit_fails_everybody_hears_it_and_nothing_is_kept(
    journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create(journal, "run")

    class Failing:
        """The connection of a disk that is full when the transaction ends."""

        def __init__(self, real: sqlite3.Connection) -> None:
            self.real = real

        def __getattr__(self, name: str) -> object:
            return getattr(self.real, name)

        def execute(self, statement: str, *arguments: object) -> object:
            if statement == "COMMIT":
                raise sqlite3.OperationalError("database or disk is full")
            return self.real.execute(statement, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(journal, "_connection", Failing(journal._connection))
        with pytest.raises(JournalError, match="disk is full"):
            await journal.commit("run", Change(events=[event(2)]))
    assert await journal.events("run", 0) == [BEGUN]
    await journal.commit("run", Change(events=[event(2)]))


async def test_a_full_disk_is_an_error_with_its_cure_and_nothing_is_half_kept(journal: SqliteJournal) -> None:
    info = await create(journal, "run")

    def limit(connection: sqlite3.Connection, pages: int = 0) -> int:
        """SQLite's own limit stands for the disk's; 0 tells how many pages there are."""
        if not pages:
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
        return pages

    await journal._do(limit)
    assert journal.is_writable
    big = RunEvent(EventType.RUN_WARNING, message="x" * 500_000, sequence=3)
    with pytest.raises(JournalError, match=r"headwater\.db cannot be used: .*full; free space on its disk"):
        await journal.commit(info.run_id, Change(events=[event(2), StoredEvent(big)], reserved=99))
    stored = await journal.load("run")
    assert stored is not None
    assert stored.reserved == 1
    assert await journal.events("run", 0) == [BEGUN]
    assert not journal.is_writable
    await journal._do(lambda connection: limit(connection, 1_000_000))
    await journal.commit(info.run_id, Change(events=[event(2), StoredEvent(big)]))
    assert journal.is_writable


async def test_a_lock_of_another_program_is_logged_once_and_holds_up_no_reader_for_long(
    tmp_path: Path, journal: SqliteJournal
) -> None:
    await create(journal, "run")
    await journal._do(lambda connection: connection.execute("PRAGMA busy_timeout = 10"))
    with (
        closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as other,
        capture_logs() as logged,
    ):
        other.execute("BEGIN IMMEDIATE")
        for _ in range(3):
            with pytest.raises(JournalError, match="close the program that holds the file"):
                await journal.commit("run", Change(events=[event(2)]))
        (wait,) = await journal._do(lambda connection: connection.execute("PRAGMA busy_timeout").fetchone())
        assert wait == 0
        other.execute("ROLLBACK")
        await journal.commit("run", Change(events=[event(2)]))
        (wait,) = await journal._do(lambda connection: connection.execute("PRAGMA busy_timeout").fetchone())
        assert wait == 5000
    assert [line["log_level"] for line in logged] == ["error", "info"]


async def test_a_mistake_in_a_statement_is_no_trouble_of_the_file(journal: SqliteJournal) -> None:
    await create(journal, "run")
    with pytest.raises(sqlite3.IntegrityError):
        await journal.commit("run", Change(events=[event(2), event(2)]))
    assert journal.is_writable


async def test_text_that_is_not_unicode_is_an_error_of_its_writer_alone(journal: SqliteJournal) -> None:
    await create(journal, "run")
    broken = RunEvent(EventType.RUN_WARNING, message="\ud800", sequence=2)
    with pytest.raises(UnicodeEncodeError):
        await journal.commit("run", Change(events=[StoredEvent(broken)]))
    await journal.commit("run", Change(events=[event(2)]))


async def test_what_a_cancelled_caller_wrote_is_kept(journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    await create(journal, "run")
    batches = Batches(journal, monkeypatch)
    commit = asyncio.create_task(journal.commit("run", Change(events=[event(2)])))
    await asyncio.sleep(0)
    commit.cancel()
    with pytest.raises(asyncio.CancelledError):
        await commit
    batches.go.set()
    assert [stored.event.sequence for stored in await journal.events("run", 0)] == [1, 2]


WRITER = """
import asyncio, sys
from pathlib import Path
import structlog
from headwater_server.workflows.journal.base import Change
from headwater_server.workflows.journal.sqlite import SqliteJournal
from tests.support.runs.run_log import BEGUN, run_info, run_state

structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))

async def main():
    journal = await SqliteJournal.open(Path(sys.argv[1]))
    info = run_info("run")
    await journal.create(info, run_state(info), Change(events=[BEGUN], reserved=1))
    for i in range(2, 1_000_000):
        await journal.commit("run", Change(context={"k": str(i)}, reserved=i))
        print(i, flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("commits", [1, 40])
async def test_what_was_written_survives_a_killed_process(tmp_path: Path, commits: int) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        for _ in range(commits):
            last = int(writer.stdout.readline())
        os.kill(writer.pid, signal.SIGKILL)
        told = [int(line) for line in writer.stdout.read().split(b"\n") if line]
    last = told[-1] if told else last
    journal = await SqliteJournal.open(tmp_path)
    stored = await journal.load("run")
    await journal.close()
    assert stored is not None
    assert stored.reserved >= last
    assert stored.state.context == {"k": str(stored.reserved)}


# Opening and closing.


async def test_a_second_journal_in_the_same_folder_is_refused(tmp_path: Path, journal: SqliteJournal) -> None:
    with pytest.raises(JournalLockedError, match=f"in use by process {os.getpid()}; stop it, or"):
        await SqliteJournal.open(tmp_path)
    await create(journal, "run")


async def test_all_files_are_private(tmp_path: Path, journal: SqliteJournal) -> None:
    await create(journal, "run")
    modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in os.scandir(tmp_path)}
    assert modes == dict.fromkeys(["headwater.db", "headwater.db-wal", "headwater.db-shm", "lock"], 0o600)


async def test_it_syncs_at_every_commit(journal: SqliteJournal) -> None:
    def pragmas(connection: sqlite3.Connection) -> list[object]:
        names = ("journal_mode", "synchronous", "foreign_keys")
        return [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names]

    assert await journal._do(pragmas) == ["wal", 2, 1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"no database at all, but long enough to be one" * 100,
            "file is not a database; restore the file from a copy",
        ),
        (
            b"SQLite format 3\0" + b"\xff" * 5000,
            "restore the file from a copy, or move it away to begin with an empty one",
        ),
    ],
)
async def test_a_damaged_file_is_one_line_with_the_cure(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "headwater.db").write_bytes(content)
    with pytest.raises(JournalError, match=message) as caught:
        await SqliteJournal.open(tmp_path)
    assert str(tmp_path / "headwater.db") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "headwater.db").read_bytes() == content


async def test_damage_that_shows_later_is_an_error_of_the_reader(tmp_path: Path) -> None:
    journal = await SqliteJournal.open(tmp_path)
    for i in range(50):
        await create(journal, f"run{i}")
    await journal.close()
    path = tmp_path / "headwater.db"
    data = path.read_bytes()
    path.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))
    with pytest.raises(JournalError, match="restore the file from a copy"):
        journal = await SqliteJournal.open(tmp_path)
        try:
            await journal.load("run7")
        finally:
            await journal.close()


async def test_a_newer_schema_is_refused_and_the_folder_is_free_again(tmp_path: Path) -> None:
    await (await SqliteJournal.open(tmp_path)).close()
    with closing(sqlite3.connect(tmp_path / "headwater.db")) as connection:
        connection.execute("PRAGMA user_version = 99")
    for _ in range(2):
        with pytest.raises(JournalError, match=r"a newer Headwater wrote the journal .*; upgrade Headwater"):
            await SqliteJournal.open(tmp_path)


async def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="cannot be used"):
        await SqliteJournal.open(tmp_path / "file")


async def test_closing_waits_for_what_is_being_written(tmp_path: Path) -> None:
    journal = await SqliteJournal.open(tmp_path)
    await create(journal, "run")
    commit = asyncio.create_task(journal.commit("run", Change(events=[event(2)])))
    await asyncio.sleep(0)
    await asyncio.gather(journal.close(), journal.close())
    assert commit.done()
    await commit
    journal = await SqliteJournal.open(tmp_path)
    assert len(await journal.events("run", 0)) == 2
    await journal.close()


async def test_a_closed_journal_says_so(tmp_path: Path) -> None:
    journal = await SqliteJournal.open(tmp_path)
    await journal.close()
    with pytest.raises(JournalError, match="is closed"):
        await journal.unfinished()


async def test_opening_that_is_cancelled_leaves_the_folder_free(tmp_path: Path) -> None:
    opening = asyncio.create_task(SqliteJournal.open(tmp_path))
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await (await SqliteJournal.open(tmp_path)).close()


async def test_its_thread_ends_with_it(tmp_path: Path) -> None:
    before = threading.active_count()
    journal = await SqliteJournal.open(tmp_path)
    assert threading.active_count() == before + 1
    await journal.close()
    assert threading.active_count() == before


async def test_the_progress_of_a_step_outlives_its_other_changes(journal: SqliteJournal) -> None:
    await create(journal, "run_1")
    await journal.commit("run_1", Change(progress={"a": '{"row": 7}'}))
    await journal.commit("run_1", Change(steps=[StepState("a", StepStatus.RETRYING, 1)], events=[event(2)]))
    stored = await journal.load("run_1")
    assert stored is not None
    assert stored.state.progress == {"a": '{"row": 7}'}
    assert stored.state.steps["a"].status is StepStatus.RETRYING


async def test_a_run_keeps_the_headers_of_the_call_that_started_it(journal: SqliteJournal) -> None:
    info = replace(run_info("run_1"), origin={"x-request-id": STRANGE})
    await journal.create(info, run_state(info), Change(events=[BEGUN], reserved=1))
    stored = await journal.load("run_1")
    assert stored is not None
    assert stored.info == info


async def test_callers_of_a_journal_whose_thread_has_died_get_the_reason(
    journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(*_: object) -> None:
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr(journal, "_attempt", fault)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError, match="a fault"):
            await asyncio.wait_for(journal.load("run_1"), 10)
    assert not journal.is_writable


async def test_at_its_full_size_it_takes_no_more_runs_and_those_that_it_has_continue(tmp_path: Path) -> None:
    journal = await SqliteJournal.open(tmp_path, 2**20)
    try:
        for number in range(100):
            info = run_info(f"run {number}")
            state = run_state(info)
            state.context["k"] = f'"{"x" * 100_000}"'
            try:
                await journal.create(info, state, Change(events=[BEGUN]))
            except JournalFullError as error:
                assert "journal_mib" in str(error)
                break
        assert 5 < number < 10
        assert journal.is_writable
        assert (tmp_path / FILE_NAME).stat().st_size <= 2**20
        await journal.commit("run 0", Change(context={"more": f'"{"x" * 100_000}"'}))
        await journal.delete("run 1")
        await journal.delete("run 2")
        await journal.create(info, state, Change(events=[BEGUN]))
    finally:
        await journal.close()


async def test_names_of_handlers_take_no_more_than_a_mebibyte_and_the_latest_are_kept(
    tmp_path: Path, journal: SqliteJournal
) -> None:
    names = [f"{number:04}" + "h" * 252 for number in range(1000)]
    for number in range(20):
        await journal.remember_handlers(f"queue {number}", names)
    assert await journal.handlers("queue 0") == frozenset()
    assert await journal.handlers("queue 19") == frozenset(names)
    assert (tmp_path / FILE_NAME).stat().st_size < 4 * 2**20
