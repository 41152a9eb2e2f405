"""Any damage to the journal's file: the server's start ends with a JournalError, or the runs are there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater_server.domain.messages import AgentConfig
from headwater_server.domain.workflow import Step, Workflow
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
