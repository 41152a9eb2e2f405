"""Calls about one run at the same time, and runs for which there is no room: none is a fault."""

from __future__ import annotations

import asyncio

import pytest

from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.messages import AgentConfig
from headwater_server.domain.workflow import RunStatus, Step, Workflow
from headwater_server.workflows.engine.active import RunLimits
from headwater_server.workflows.engine.replies import Reply
from headwater_server.workflows.engine.run_calls import StartRequest
from headwater_server.workflows.engine.steps import OnChunk
from headwater_server.workflows.workers.pool import WorkerPool
from tests.support.runs.driven import FaultyJournal, answer, events, opened, request, status
from tests.support.runs.expressions import fake_runs


async def stored_run(journal: FaultyJournal) -> str:
    """The id of the one run, once it is stored."""
    async with asyncio.timeout(10):
        while not (found := await journal.page(0, 1, None, "", 0.0, None)):
            await asyncio.sleep(0)
    return found[0].run_id


async def test_calls_about_a_run_that_is_stored_and_not_yet_driven_wait_for_it(tmp_path):
    async with opened(tmp_path) as (runs, journal, _):
        journal.answers.clear()
        starting = asyncio.create_task(runs.start_run(request()))
        run_id = await stored_run(journal)
        watching = asyncio.create_task(events(runs, run_id))
        cancelling = asyncio.create_task(runs.cancel_run(run_id))
        await asyncio.sleep(0.05)
        journal.answers.set()
        assert (await watching)[-1] == "run_finished"
        await starting
        await cancelling
        assert await status(runs, run_id) is RunStatus.CANCELLED


async def test_a_run_that_is_resumed_as_soon_as_it_is_cancelled_has_been_cancelled(tmp_path):
    async def hang(agent: AgentConfig, prompt: str, on_chunk: OnChunk) -> Reply:
        await asyncio.Event().wait()
        raise AssertionError

    async with opened(tmp_path, hang) as (runs, _, _):
        run_id = await runs.start_run(request())
        for _ in range(20):
            cancelling = asyncio.create_task(runs.cancel_run(run_id))
            while not cancelling.done():
                await asyncio.sleep(0)
                await runs.resume_run(run_id)
            await cancelling
            await runs.resume_run(run_id)
            assert await status(runs, run_id) is RunStatus.RUNNING


async def test_a_request_id_whose_run_is_deleted_meanwhile_starts_another_run(tmp_path, monkeypatch):
    async with opened(tmp_path) as (runs, journal, _):
        first = await runs.start_run(request(request_id="r"))
        await events(runs, first)
        find = journal.find

        async def find_nothing(request_id: str, owner: str) -> None:
            monkeypatch.setattr(journal, "find", delete_and_find)

        async def delete_and_find(request_id: str, owner: str) -> tuple[str, str] | None:
            monkeypatch.setattr(journal, "find", find)
            await runs.delete_run(first)
            return await find(request_id, owner)

        monkeypatch.setattr(journal, "find", find_nothing)
        second = await runs.start_run(request(request_id="r"))
        assert second != first
        assert (await events(runs, second))[-1] == "run_finished"


async def test_a_run_for_which_there_is_no_memory_is_refused_and_those_before_it_run(tmp_path):
    journal = await FaultyJournal.open(tmp_path)
    pool = WorkerPool(1.0)
    runs = fake_runs(journal, pool, answer, 3600, limits=RunLimits(size=100_000))
    big = StartRequest(Workflow("w", (Step("a", handler="h"),)), {"k": f'"{"x" * 60_000}"'}, "q", "", "f", 60_000)
    try:
        first = await runs.start_run(big)
        with pytest.raises(HeadwaterError, match="active_runs_mib") as caught:
            await runs.start_run(big)
        assert caught.value.reason is Reason.SERVER_OVERLOADED
        assert caught.value.retry_after_seconds
        await runs.cancel_run(first)
        await runs.start_run(big)
    finally:
        await runs.close()
        pool.close()
        await journal.close()
