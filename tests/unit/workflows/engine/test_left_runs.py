"""The runs that an earlier process left are resumed in the background; one that cannot be resumed fails alone."""

from __future__ import annotations

import asyncio

import pytest

from headwater_server.domain.errors import Reason
from headwater_server.domain.failure import Failure
from headwater_server.domain.messages import AgentConfig
from headwater_server.domain.workflow import RunStatus
from headwater_server.workflows.engine.replies import Reply
from headwater_server.workflows.engine.steps import OnChunk
from headwater_server.workflows.journal.base import JournalDamagedError, JournalError
from headwater_server.workflows.workers.pool import WorkerPool
from tests.support.runs.driven import FaultyJournal, answer, events, opened, request, status
from tests.support.runs.expressions import fake_runs


@pytest.fixture
async def left(tmp_path):
    """The ids of three runs that a process has left in the journal."""

    async def act(agent: AgentConfig, prompt: str, on_chunk: OnChunk) -> Reply:
        await asyncio.Event().wait()
        raise AssertionError

    async with opened(tmp_path, act) as (runs, _, _):
        return [await runs.start_run(request()) for _ in range(3)]


@pytest.mark.parametrize("error", [JournalDamagedError("its rows cannot be read"), KeyError("a fault of this server")])
async def test_a_run_that_cannot_be_resumed_fails_with_the_reason_and_the_others_continue(
    tmp_path, left, monkeypatch, error
):
    load = FaultyJournal.load

    async def broken_load(journal, run_id):
        if run_id == left[0]:
            raise error
        return await load(journal, run_id)

    monkeypatch.setattr(FaultyJournal, "load", broken_load)
    async with opened(tmp_path) as (runs, _, _):
        for run_id in left[1:]:
            assert (await events(runs, run_id))[-1] == "run_finished"
        monkeypatch.setattr(FaultyJournal, "load", load)
        view = await runs.get_run(left[0])
        assert view.state.status is RunStatus.FAILED
        assert view.state.failure == Failure(
            Reason.INTERNAL, "the server could not resume the run, its log says why; ResumeWorkflowRun tries again"
        )
        await runs.resume_run(left[0])
        assert (await events(runs, left[0]))[-1] == "run_finished"


async def test_a_run_that_the_journal_cannot_read_for_a_moment_stays_for_the_next_process(tmp_path, left, monkeypatch):
    load = FaultyJournal.load

    async def broken_load(journal, run_id):
        raise JournalError("an error of the disk")

    monkeypatch.setattr(FaultyJournal, "load", broken_load)
    async with opened(tmp_path) as (runs, _, _):
        monkeypatch.setattr(FaultyJournal, "load", load)
        assert await status(runs, left[0]) is RunStatus.RUNNING
    async with opened(tmp_path) as (runs, _, _):
        assert (await events(runs, left[0]))[-1] == "run_finished"


async def test_a_run_that_waits_to_be_resumed_can_be_watched_and_cancelled_at_once(tmp_path, left, monkeypatch):
    load, held = FaultyJournal.load, asyncio.Event()

    async def slow_load(journal, run_id):
        if run_id == left[0]:
            await held.wait()
        return await load(journal, run_id)

    monkeypatch.setattr(FaultyJournal, "load", slow_load)
    journal = await FaultyJournal.open(tmp_path)
    runs = fake_runs(journal, WorkerPool(1.0), answer, 3600)
    await runs.open()
    cancelling = asyncio.create_task(runs.cancel_run(left[2]))
    watching = asyncio.create_task(events(runs, left[1]))
    await asyncio.sleep(0.01)
    held.set()
    await cancelling
    assert (await watching)[-1] == "run_finished"
    await runs.all_resumed()
    assert await status(runs, left[2]) is RunStatus.CANCELLED
    assert len(runs) <= 1
    await runs.close()
    await journal.close()
