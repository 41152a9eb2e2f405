"""The owner of all runs drives each one, also while callers leave, the journal fails or the process ends."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing

import pytest

from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.failure import Failure, StepError, final_step_error
from headwater_server.domain.messages import AgentConfig, ResponseFormat, ResponseFormatType
from headwater_server.domain.workflow import EventType, RetryPolicy, RunStatus, Step, StepStatus
from headwater_server.workflows.engine.replies import Reply
from headwater_server.workflows.engine.runs import Runs
from headwater_server.workflows.engine.steps import OnChunk
from tests.support.runs.driven import FaultyJournal, events, opened, reply, request, status, until


async def events_begin(runs: Runs, run_id: str) -> None:
    """Waits until its step runs."""
    async with aclosing(runs.watch_run(run_id, 0)) as stream:
        async for event in stream:
            if event.type is EventType.STEP_STARTED:
                return


async def broken_run(runs: Runs, journal: FaultyJournal, go_on: asyncio.Event) -> str:
    """A run whose journal failed in mid-run: no task drives it, and the journal has it as running."""
    run_id = await runs.start_run(request())
    await events_begin(runs, run_id)
    journal.damaged = True
    go_on.set()
    await until(lambda: len(runs) == 0)
    journal.damaged = False
    return run_id


@pytest.fixture
async def broken(tmp_path):
    go_on = asyncio.Event()

    async def act(agent: AgentConfig, prompt: str, on_chunk: OnChunk) -> Reply:
        await go_on.wait()
        return reply(prompt)

    async with opened(tmp_path, act) as (runs, journal, _):
        yield runs, await broken_run(runs, journal, go_on)


async def test_a_run_whose_caller_leaves_while_it_is_stored_is_driven_all_the_same(tmp_path):
    async with opened(tmp_path) as (runs, journal, _):
        starting = asyncio.create_task(runs.start_run(request(request_id="r")))
        await journal.creating.wait()
        starting.cancel()
        await asyncio.wait([starting])
        run_id = await runs.start_run(request(request_id="r"))
        assert await events(runs, run_id) == ["run_started", "step_started a", "step_completed a", "run_finished"]


async def test_a_watcher_of_a_run_that_nobody_drives_is_told_so(broken):
    runs, run_id = broken
    with pytest.raises(HeadwaterError) as caught:
        await events(runs, run_id)
    assert caught.value.reason is Reason.INTERNAL


async def test_a_run_that_nobody_drives_can_be_resumed(broken):
    runs, run_id = broken
    await runs.resume_run(run_id)
    assert (await events(runs, run_id))[-1] == "run_finished"


async def test_a_run_that_nobody_drives_can_be_cancelled(broken):
    runs, run_id = broken
    await runs.cancel_run(run_id)
    assert await status(runs, run_id) is RunStatus.CANCELLED


async def test_a_run_that_completes_while_a_second_caller_resumes_it_stays_completed(tmp_path):
    calls = 0

    async def act(agent: AgentConfig, prompt: str, on_chunk: OnChunk) -> Reply:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise final_step_error("no")
        return reply(prompt)

    async with opened(tmp_path, act) as (runs, _, _):
        run_id = await runs.start_run(request())
        await events(runs, run_id)
        get, waiting = runs.get_run, asyncio.Event()

        async def slow_get(run_id: str):
            view = await get(run_id)
            await waiting.wait()
            return view

        runs.get_run = slow_get
        second = asyncio.create_task(runs.resume_run(run_id))
        await asyncio.sleep(0.05)
        runs.get_run = get
        await runs.resume_run(run_id)
        await events(runs, run_id)
        waiting.set()
        with pytest.raises(HeadwaterError) as caught:
            await second
        assert caught.value.reason is Reason.RUN_STATE
        assert (await events(runs, run_id)).count("run_resumed") == 1


async def test_a_run_waits_while_the_journal_cannot_be_written_and_no_step_runs_twice(tmp_path):
    prompts = []

    async def act(agent: AgentConfig, prompt: str, on_chunk: OnChunk) -> Reply:
        prompts.append(prompt)
        journal.full = True
        return reply(prompt)

    async with opened(tmp_path, act) as (runs, journal, _):
        run_id = await runs.start_run(request())
        watching = asyncio.create_task(events(runs, run_id))
        await until(lambda: not journal.is_writable)
        journal.full = False
        assert (await watching)[-1] == "run_finished"
        assert prompts == ["x"]
        await until(lambda: journal.is_writable)


async def test_a_run_that_was_stored_although_the_journal_failed_is_driven(tmp_path):
    async with opened(tmp_path) as (runs, journal, _):
        journal.fails_after_create = True
        run_id = await runs.start_run(request())
        assert (await events(runs, run_id))[-1] == "run_finished"


async def test_with_a_response_format_the_result_of_an_action_is_the_json(tmp_path):
    asked = []

    async def act(agent: AgentConfig, prompt: str, on_chunk: OnChunk) -> Reply:
        asked.append(agent)
        return reply(' {"a": 3.0} ' if len(asked) == 2 else "Sure! Here is your JSON")

    own = AgentConfig(response_format=ResponseFormat(ResponseFormatType.JSON_OBJECT), sampling={"seed": 1})
    step = Step("a", action="x", agent=own, retry_policy=RetryPolicy(initial_delay_seconds=0.01))
    async with opened(tmp_path, act) as (runs, _, _):
        run_id = await runs.start_run(request(step))
        assert "step_retrying a" in await events(runs, run_id)
        assert (await runs.get_run(run_id)).state.steps["a"].result == '{"a": 3.0}'


def test_settings_of_a_step_stand_over_those_of_the_workflow():
    workflow = AgentConfig(model="m", provider="p", instructions="i", sampling={"seed": 1, "top_p": 0.5}, user="u")
    step = AgentConfig(model="other", sampling={"seed": 2})
    merged = AgentConfig(model="other", instructions="i", sampling={"seed": 2, "top_p": 0.5}, user="u")
    assert workflow.overlaid(step) == merged
    assert workflow.overlaid(None) is workflow


async def test_removing_old_runs_goes_on_after_a_write_has_failed(tmp_path, monkeypatch):
    monkeypatch.setattr("headwater_server.workflows.engine.retention.PRUNE_EVERY_SECONDS", 0.01)
    later = 0.0
    async with opened(tmp_path, clock=lambda: time.time() + later) as (runs, journal, _):
        await events(runs, run_id := await runs.start_run(request()))
        journal.full = True
        await asyncio.sleep(0.05)
        journal.full = False
        later = 7200.0

        async with asyncio.timeout(10):
            while await journal.load(run_id) is not None:
                await asyncio.sleep(0.01)


async def test_a_drain_waits_for_what_runs_and_not_for_a_step_beside_it_that_has_no_worker(tmp_path):
    go_on = asyncio.Event()

    async def act(agent: AgentConfig, prompt: str, on_chunk: OnChunk) -> Reply:
        await go_on.wait()
        return reply(prompt)

    async with opened(tmp_path, act) as (runs, journal, _):
        await journal.remember_handlers("q", ["h"])
        run_id = await runs.start_run(request(Step("a", action="x"), Step("b", handler="h")))
        waits = StepStatus.WAITING_FOR_WORKER
        state = (await runs.get_run(run_id)).state
        await until(lambda: state.steps["b"].status is waits)
        draining = asyncio.create_task(runs.drain(60))
        await asyncio.sleep(0)
        go_on.set()
        async with asyncio.timeout(5):
            await draining
        stored = await journal.load(run_id)
        assert stored is not None
        assert stored.state.steps["a"].status is StepStatus.COMPLETED
        assert stored.state.status is RunStatus.RUNNING
        assert stored.state.steps["b"].failures == 0


async def test_an_attempt_that_fails_during_a_drain_does_not_count_and_is_not_waited_for(tmp_path):
    go_on = asyncio.Event()

    async def act(agent: AgentConfig, prompt: str, on_chunk: OnChunk) -> Reply:
        await go_on.wait()
        raise StepError(Failure(Reason.PROVIDER_UNAVAILABLE, "gone"))

    async with opened(tmp_path, act) as (runs, journal, _):
        run_id = await runs.start_run(request())
        await events_begin(runs, run_id)
        draining = asyncio.create_task(runs.drain(60))
        await asyncio.sleep(0)
        go_on.set()
        async with asyncio.timeout(5):
            await draining
        stored = await journal.load(run_id)
        assert stored is not None
        assert stored.state.status is RunStatus.RUNNING
        assert stored.state.steps["a"].status is StepStatus.RUNNING
        assert stored.state.steps["a"].failures == 0


async def test_a_step_that_is_at_most_once_and_fails_during_a_drain_has_failed(tmp_path):
    go_on = asyncio.Event()

    async def act(agent: AgentConfig, prompt: str, on_chunk: OnChunk) -> Reply:
        await go_on.wait()
        raise StepError(Failure(Reason.PROVIDER_UNAVAILABLE, "gone"))

    async with opened(tmp_path, act) as (runs, journal, _):
        run_id = await runs.start_run(request(Step("a", action="x", retry_policy=RetryPolicy(max_attempts=1))))
        await events_begin(runs, run_id)
        draining = asyncio.create_task(runs.drain(60))
        await asyncio.sleep(0)
        go_on.set()
        async with asyncio.timeout(5):
            await draining
        stored = await journal.load(run_id)
        assert stored is not None
        assert stored.state.status is RunStatus.FAILED
        assert stored.state.steps["a"].failure == Failure(Reason.PROVIDER_UNAVAILABLE, "gone")


async def test_a_step_that_is_at_most_once_and_outlasts_a_drain_fails_in_the_next_process(tmp_path):
    calls: list[str] = []

    async def act(agent: AgentConfig, prompt: str, on_chunk: OnChunk) -> Reply:
        calls.append(prompt)
        await asyncio.Event().wait()
        raise AssertionError

    async with opened(tmp_path, act) as (runs, _, _):
        run_id = await runs.start_run(request(Step("a", action="x", retry_policy=RetryPolicy(max_attempts=1))))
        await until(lambda: calls == ["x"])
        await runs.drain(0)
    async with opened(tmp_path, act) as (runs, _, _):
        assert (await events(runs, run_id))[-3:] == ["run_resumed", "step_failed a", "run_finished"]
        state = (await runs.get_run(run_id)).state
        assert state.failed_steps == ("a",)
        assert state.steps["a"].failure.reason is Reason.INTERNAL
        assert "at most once" in state.failure.message
    assert calls == ["x"]


async def test_the_last_number_of_an_ended_run_is_known_without_its_events(tmp_path, monkeypatch):
    async with opened(tmp_path) as (runs, journal, _):
        run_id = await runs.start_run(request())
        last = [event async for event in runs.watch_run(run_id, 0)][-1]
        assert last.type is EventType.RUN_FINISHED
        monkeypatch.setattr(journal, "events", None)
        assert (await runs.get_run(run_id)).sequence == last.sequence
