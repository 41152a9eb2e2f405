"""Damage to the journal: of its file, with which a start may end with a JournalError; of a row, which fails its run alone."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.messages import AgentConfig
from headwater_server.domain.workflow import RunStatus, Step, Workflow
from headwater_server.workflows.engine.replies import Reply
from headwater_server.workflows.engine.run_calls import StartRequest
from headwater_server.workflows.engine.runs import Runs
from headwater_server.workflows.engine.steps import OnChunk
from headwater_server.workflows.journal.base import JournalError
from headwater_server.workflows.journal.sqlite import FILE_NAME, SqliteJournal
from headwater_server.workflows.workers.pool import WorkerPool
from tests.support.runs.expressions import fake_runs

WORKFLOW = Workflow("w", (Step("a", action="{{ topic }}"), Step("b", handler="h", depends_on=("a",)), Step("c", "x")))
RETENTION_SECONDS = 1e9


async def never(agent: AgentConfig, prompt: str, on_chunk: OnChunk) -> Reply:
    await asyncio.Event().wait()
    raise AssertionError


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Runs]:
    journal = await SqliteJournal.open(folder)
    pool = WorkerPool(60)
    runs = fake_runs(journal, pool, never, RETENTION_SECONDS)
    try:
        await runs.open()
        await runs.all_resumed()
        yield runs
    finally:
        await runs.close()
        await journal.close()
        pool.close()


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of a journal with runs in it."""
    folder = tmp_path_factory.mktemp("journal")

    async def start() -> None:
        async with opened(folder) as runs:
            for _ in range(6):
                await runs.start_run(StartRequest(WORKFLOW, {"topic": '"rivers"'}, "q", "", ""))

    asyncio.run(start())
    return (folder / FILE_NAME).read_bytes()


@given(place=st.floats(0, 1, exclude_max=True), piece=st.binary(min_size=1, max_size=2_000), cut=st.booleans())
@settings(max_examples=60)
def test_a_damaged_journal_is_an_error_of_one_line_or_does_no_harm(
    content: bytes, place: float, piece: bytes, cut: bool
) -> None:
    position = int(place * len(content))
    damaged = content[:position] + (b"" if cut else piece + content[position + len(piece) :])

    async def start() -> None:
        async with opened(Path(name)):
            pass

    with TemporaryDirectory() as name:
        (Path(name) / FILE_NAME).write_bytes(damaged)
        try:
            asyncio.run(start())
        except JournalError as error:
            assert "\n" not in str(error)


CELLS = (
    ("runs", "workflow_name", "queue", "status", "failure", "failed_steps", "fingerprint", "origin"),
    ("definitions", "workflow"),
    ("steps", "name", "status", "result", "failure", "skip_reason", "skipped_because_of", "queue", "reply", "progress"),
    ("context", "key", "value"),
    ("events", "type", "step", "content", "result", "facts"),
)
WRONG = (
    b"\xff",
    b"{",
    b"{}",
    b"[]",
    b"[1]",
    b"null",
    b'"x"',
    b"",
    b"flying",
    b'{"steps": [{}], "name": 3}',
    b"9" * 400,
)


@given(
    table=st.sampled_from(CELLS),
    column=st.integers(1, 10),
    wrong=st.sampled_from(WRONG) | st.binary(max_size=20),
    row=st.integers(0, 5),
)
@settings(max_examples=40)
def test_a_row_that_cannot_be_read_fails_its_run_alone(
    content: bytes, table: tuple[str, ...], column: int, wrong: bytes, row: int
) -> None:
    name, *columns = table
    cell = columns[column % len(columns)]

    async def start(run_id: str) -> None:
        async with opened(Path(folder)) as runs:
            found = await runs.list_runs(0, 100, None, "", 0.0)
            assert len(found) == 6
            others = [run.run_id for run in found if run.run_id != run_id]
            assert len(runs) >= len(others)
            for other in others:
                assert (await runs.get_run(other)).state.status is RunStatus.RUNNING
                await runs.cancel_run(other)
            view = await runs.get_run(run_id)
            if view.state.status is RunStatus.RUNNING:  # the change is no matter for it
                await runs.cancel_run(run_id)
            else:
                assert view.state.failure is not None
            assert [event async for event in runs.watch_run(run_id, 0)]
            await runs.delete_run(run_id)

    with TemporaryDirectory() as folder:
        file = Path(folder) / FILE_NAME
        file.write_bytes(content)
        with closing(sqlite3.connect(file)) as connection:
            (run_id,) = connection.execute("SELECT run_id FROM runs LIMIT 1 OFFSET ?", (row,)).fetchone()
            rows = f"SELECT rowid FROM {name} WHERE run_id = ? LIMIT 1"  # noqa: S608
            change = f"UPDATE {name} SET {cell} = CAST(? AS TEXT) WHERE rowid = ({rows})"  # noqa: S608
            connection.execute(change, (wrong, run_id))
            connection.commit()
        asyncio.run(start(run_id))


def test_a_run_without_its_definition_fails_alone(content: bytes, tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        (run_id,) = connection.execute("SELECT run_id FROM runs LIMIT 1").fetchone()
        connection.execute("DELETE FROM definitions WHERE run_id = ?", (run_id,))
        connection.commit()

    async def start() -> None:
        async with opened(tmp_path) as runs:
            assert len(runs) == 5
            failure = (await runs.get_run(run_id)).state.failure
            assert failure is not None
            assert "cannot be read" in failure.message
            with pytest.raises(HeadwaterError) as caught:
                await runs.resume_run(run_id)
            assert caught.value.reason is Reason.RUN_STATE

    asyncio.run(start())
