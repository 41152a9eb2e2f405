"""Runs that are driven for tests, with a journal that fails on demand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager

from headwater_server.domain.chunks import FinishReason, ReplyFacts
from headwater_server.domain.messages import AgentConfig
from headwater_server.domain.workflow import RunStatus, Step, Workflow
from headwater_server.workflows.engine.replies import Reply
from headwater_server.workflows.engine.run_calls import StartRequest
from headwater_server.workflows.engine.runs import Runs
from headwater_server.workflows.engine.steps import OnChunk
from headwater_server.workflows.journal.base import JournalDamagedError, JournalError
from headwater_server.workflows.journal.sqlite import SqliteJournal
from headwater_server.workflows.workers.pool import WorkerPool
from tests.support.runs.expressions import fake_runs

Act = Callable[[AgentConfig, str, OnChunk], Awaitable[Reply]]


def reply(text: str) -> Reply:
    return Reply(text, ReplyFacts(FinishReason.STOP, None, "echo", "scripted"))


class FaultyJournal(SqliteJournal):
    """A journal on a disk that is full when `full` is set, and damaged when `damaged` is.

    `creating` is set when it is about to store a run; while `answers` is not set, it does not report that it has.
    """

    def __init__(self, *args):
        super().__init__(*args)
        self.full = False
        self.damaged = False
        self.fails_after_create = False
        self.creating = asyncio.Event()
        self.answers = asyncio.Event()
        self.answers.set()

    async def create(self, info, state, change):
        self.creating.set()
        await super().create(info, state, change)
        await self.answers.wait()
        if self.fails_after_create:
            raise JournalError("the end of the write is unknown")

    def _write(self, batch):
        if self.full:
            raise JournalError("no space left")
        if self.damaged:
            raise JournalDamagedError("the file is damaged")
        super()._write(batch)


async def answer(agent: AgentConfig, prompt: str, on_chunk: OnChunk) -> Reply:
    return reply(prompt)


def request(*steps: Step, request_id: str = "") -> StartRequest:
    return StartRequest(Workflow("w", steps or (Step("a", action="x"),)), {}, "q", request_id, "f")


@asynccontextmanager
async def opened(directory, act: Act = answer, clock: Callable[[], float] = time.time):
    journal = await FaultyJournal.open(directory)
    pool = WorkerPool(1.0)
    runs = fake_runs(journal, pool, act, 3600, clock)
    try:
        await runs.open()
        await runs.all_resumed()
        yield runs, journal, pool
    finally:
        await runs.close()
        pool.close()
        await journal.close()


async def events(runs: Runs, run_id: str) -> list[str]:
    return [f"{event.type.value} {event.step}".strip() async for event in runs.watch_run(run_id, 0)]


async def status(runs: Runs, run_id: str) -> RunStatus:
    return (await runs.get_run(run_id)).state.status


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)
