"""The log of a run: numbers, commits, watchers."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

import pytest

from headwater_server.domain.workflow import EventType, RunEvent, RunStatus, StepStatus, Transition
from headwater_server.workflows.engine.run_log import RunLog
from headwater_server.workflows.journal.base import JournalError, RunChange
from tests.support.runs.run_log import (
    BEGUN,
    DAMAGED,
    DISK_FULL,
    NO,
    RUN_ID,
    FakeJournal,
    completed,
    failed,
    finished,
    resumed,
    retrying,
    started,
)


def new_log(journal: FakeJournal, clock: Callable[[], float] = lambda: 5.0) -> RunLog:
    return RunLog(journal, RUN_ID, 1, [BEGUN], clock)


async def watched(log: RunLog, after: int = 0) -> list[RunEvent]:
    """All events that a closed log has after a number."""
    return [event async for event in log.watch(after)]


def texts(events: list[RunEvent]) -> list[str]:
    """The texts of events, in short."""
    return [
        event.content or event.thinking if event.type is EventType.STEP_CHUNK else event.type.value for event in events
    ]


async def let_run() -> None:
    """Lets everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_events_are_numbered_in_the_order_in_which_they_happened() -> None:
    log = new_log(FakeJournal())
    await log.record([started("a")])
    await log.add_chunk("a", 1, "x", "")
    await log.record([completed("a"), finished()])
    log.close()
    events = await watched(log)
    assert [(event.sequence, event.type.value) for event in events] == [
        (1, "run_started"), (2, "step_started"), (3, "step_chunk"), (4, "step_completed"), (5, "run_finished"),
    ]  # fmt: skip
    assert log.sequence == 5


async def test_one_record_is_one_commit() -> None:
    journal = FakeJournal()
    log = new_log(journal)
    await log.record([started("a"), started("b")])
    (change,) = journal.changes
    assert [stored.event.step for stored in change.events] == ["a", "b"]
    assert [step.name for step in change.steps] == ["a", "b"]


async def test_nobody_sees_an_event_before_it_is_durable() -> None:
    journal = FakeJournal()
    log = new_log(journal)
    journal.gate.clear()
    recording = asyncio.create_task(log.record([started("a")]))
    async with aclosing(log.watch(1)) as events:
        coming = asyncio.ensure_future(anext(events))
        await let_run()
        assert not coming.done()
        assert not recording.done()
        assert log.sequence == 1
        journal.gate.set()
        assert (await coming).type is EventType.STEP_STARTED
        await recording


async def test_a_chunk_behind_an_event_that_is_not_durable_waits_for_it() -> None:
    journal = FakeJournal()
    log = new_log(journal)
    await log.record([started("a"), started("b")])
    journal.gate.clear()
    recording = asyncio.create_task(log.record([completed("b")]))
    await let_run()
    await log.add_chunk("a", 1, "x", "")
    assert log.sequence == 3
    journal.gate.set()
    await recording
    log.close()
    assert texts(await watched(log, 3)) == ["step_completed", "x"]


async def test_a_chunk_that_comes_at_once_after_a_record_does_not_show_it_early() -> None:
    log = new_log(FakeJournal())
    await log.record([started("a"), started("b")])
    recording = asyncio.create_task(log.record([completed("b")]))
    await asyncio.sleep(0)  # it has its number, but its commit has not begun
    await log.add_chunk("a", 1, "x", "")
    assert log.sequence == 3
    await recording


async def test_records_that_come_during_a_commit_share_the_next_one() -> None:
    journal = FakeJournal()
    log = new_log(journal)
    journal.gate.clear()
    records = [asyncio.create_task(log.record([started(step)])) for step in "abcd"]
    await let_run()
    journal.gate.set()
    await asyncio.gather(*records)
    assert [len(change.events) for change in journal.changes] in ([1, 3], [4])


async def test_the_later_of_two_records_in_one_commit_counts() -> None:
    journal = FakeJournal()
    log = new_log(journal)
    journal.gate.clear()
    first = started("a")
    first = Transition(first.event, first.step, {"k": "1", "gone": "1"})
    second = Transition(RunEvent(EventType.RUN_WARNING, step="a"), completed("a").step, {"k": "2"}, ("gone",))
    records = [asyncio.create_task(log.record([transition])) for transition in (first, second)]
    journal.gate.set()
    await asyncio.gather(*records)
    change = journal.changes[-1]
    assert [step.status for step in change.steps] == [StepStatus.COMPLETED]
    assert (dict(change.context), list(change.deleted)) == ({"k": "2"}, ["gone"])


async def test_a_state_that_changes_after_the_record_does_not_change_the_commit() -> None:
    journal = FakeJournal()
    log = new_log(journal)
    journal.gate.clear()
    transition = started("a")
    assert transition.step is not None
    recording = asyncio.create_task(log.record([transition]))
    await asyncio.sleep(0)  # numbered, not yet written
    transition.step.status = StepStatus.FAILED
    journal.gate.set()
    await recording
    assert journal.changes[0].steps[0].status is StepStatus.RUNNING


async def test_times_are_filled_in() -> None:
    times = iter([10.0, 20.0, 30.0])
    log = new_log(FakeJournal(), lambda: next(times))
    begun, done = started("a"), completed("a")
    assert begun.step is not None
    assert done.step is not None
    await log.record([begun])
    assert (begun.step.started, begun.step.ended, begun.event.create_time) == (10.0, 0.0, 10.0)
    done.step.started = begun.step.started
    await log.record([done])
    assert (done.step.started, done.step.ended) == (10.0, 20.0)
    again = started("a", 2)
    assert again.step is not None
    again.step.ended = 20.0
    await log.record([again])
    assert (again.step.started, again.step.ended) == (30.0, 0.0)


async def test_the_status_of_the_run_goes_with_its_events() -> None:
    journal = FakeJournal()
    log = new_log(journal)
    await log.record([started("a")])
    await log.record([finished(RunStatus.FAILED, NO)])
    await log.record([resumed()])
    assert [change.status for change in journal.changes] == [
        None,
        RunChange(RunStatus.FAILED, NO, (), 5.0),
        RunChange(RunStatus.RUNNING),
    ]


@pytest.mark.parametrize("end", [completed, failed])
async def test_the_chunks_of_a_step_that_ends_are_stored_as_one_before_its_event(
    end: Callable[[str], Transition],
) -> None:
    journal = FakeJournal()
    log = new_log(journal)
    await log.record([started("a")])
    for text in ("one ", "two ", "three"):
        await log.add_chunk("a", 1, text, "")
    await log.record([end("a")])
    merged, ended = journal.changes[-1].events
    assert (merged.event.content, merged.event.sequence, ended.event.sequence) == ("one two three", 5, 6)
    assert [(mark.sequence, mark.content) for mark in merged.marks] == [(3, 4), (4, 8), (5, 13)]
    log.close()
    assert [event.content for event in await watched(log, 2)] == ["one two three", ""]


async def test_a_watcher_in_the_middle_of_a_merged_chunk_gets_the_rest() -> None:
    log = new_log(FakeJournal())
    await log.record([started("a")])
    for text in ("one ", "two ", "three"):
        await log.add_chunk("a", 1, text, "")
    await log.record([completed("a")])
    log.close()
    assert texts(await watched(log, 4)) == ["three", "step_completed"]


async def test_a_slow_watcher_gets_chunks_merged_and_a_fast_one_each() -> None:
    log = new_log(FakeJournal())
    await log.record([started("a")])
    async with aclosing(log.watch(2)) as fast:
        seen = []
        for text in "abc":
            await log.add_chunk("a", 1, text, "")
            seen.append((await anext(fast)).content)
    log.close()
    assert seen == ["a", "b", "c"]
    assert texts(await watched(log, 2)) == ["abc"]


async def test_chunks_of_steps_that_alternate_are_read_in_turns_after_their_end_too() -> None:
    log = new_log(FakeJournal())
    await log.record([started("a"), started("b")])
    for step, text in (("a", "1"), ("a", "2"), ("b", "3"), ("a", "4")):
        await log.add_chunk(step, 1, text, "")
    await log.record([completed("a"), completed("b")])
    log.close()
    everything = await watched(log, 3)
    assert texts(everything) == ["12", "3", "4", "step_completed", "step_completed"]
    for i, event in enumerate(everything):
        assert texts(await watched(log, event.sequence)) == texts(everything[i + 1 :])


@pytest.mark.parametrize("void", [retrying("a"), started("a", 2)])
async def test_chunks_of_an_earlier_attempt_are_gone(void: Transition) -> None:
    log = new_log(FakeJournal())
    await log.record([started("a")])
    await log.add_chunk("a", 1, "x", "")
    await log.record([void])
    await log.add_chunk("a", 1, "late", "")
    log.close()
    assert texts(await watched(log, 2)) == [void.event.type.value]


async def test_a_step_that_starts_after_waiting_for_a_worker_keeps_its_chunks() -> None:
    log = new_log(FakeJournal())
    await log.record([started("a")])
    await log.add_chunk("a", 1, "x", "")
    await log.record([started("a")])
    log.close()
    assert texts(await watched(log, 2)) == ["x", "step_started"]


@pytest.mark.parametrize(("step", "attempt"), [("a", 2), ("b", 1)])
async def test_a_chunk_of_an_attempt_that_does_not_run_is_ignored(step: str, attempt: int) -> None:
    log = new_log(FakeJournal())
    await log.record([started("a")])
    await log.add_chunk(step, attempt, "x", "")
    log.close()
    assert texts(await watched(log, 2)) == []


async def test_a_step_that_ends_again_after_a_resume_does_not_store_its_chunks_twice() -> None:
    journal = FakeJournal()
    log = new_log(journal)
    await log.record([started("a")])
    await log.add_chunk("a", 1, "x", "")
    await log.record([failed("a")])
    log = RunLog(journal, RUN_ID, journal.reserved, journal.stored())
    await log.record([resumed(), Transition(RunEvent(EventType.STEP_CANCELLED, step="a", attempt=1))])
    assert [stored.event.type for stored in journal.changes[-1].events] == [
        EventType.RUN_RESUMED, EventType.STEP_CANCELLED,
    ]  # fmt: skip


async def test_a_huge_chunk_is_cut_into_pieces_that_each_fit_an_event() -> None:
    log = new_log(FakeJournal())
    await log.record([started("a")])
    await log.add_chunk("a", 1, "x" * 40_000, "")
    log.close()
    assert [len(event.content) for event in await watched(log, 2)] == [16384, 16384, 40_000 - 2 * 16384]


async def test_thinking_comes_before_text_and_the_order_of_both_is_kept() -> None:
    log = new_log(FakeJournal())
    await log.record([started("a")])
    for content, thinking in (("", "hm "), ("", "so "), ("yes ", ""), ("but ", "wait "), ("no", "")):
        await log.add_chunk("a", 1, content, thinking)
    log.close()
    assert [(event.thinking, event.content) for event in await watched(log, 2)] == [
        ("hm so ", "yes "), ("wait ", "but no"),
    ]  # fmt: skip


# Reserved numbers.


async def test_a_new_process_goes_on_behind_the_reserved_numbers() -> None:
    journal = FakeJournal()
    await new_log(journal).record([started("a")])
    assert journal.reserved == 1002
    log = RunLog(journal, RUN_ID, journal.reserved, journal.stored())
    assert log.sequence == 1002
    await log.record([resumed()])
    log.close()
    assert [event.sequence for event in await watched(log)] == [1, 2, 1003]


async def test_no_number_is_shown_that_is_not_reserved() -> None:
    journal = FakeJournal()
    log = new_log(journal)
    await log.record([started("a")])
    journal.gate.clear()
    chunks = [asyncio.create_task(log.add_chunk("a", 1, "x", "")) for _ in range(1500)]
    await let_run()
    assert log.sequence == journal.reserved == 1002
    assert sum(chunk.done() for chunk in chunks) == 1000
    journal.gate.set()
    await asyncio.gather(*chunks)
    assert log.sequence == 1502
    assert journal.reserved >= 1502


async def test_numbers_are_reserved_before_they_are_needed() -> None:
    journal = FakeJournal()
    log = new_log(journal)
    await log.record([started("a")])
    for _ in range(600):
        await log.add_chunk("a", 1, "x", "")
    await let_run()
    assert log.sequence == 602
    assert journal.reserved > 1502


# Failures.


async def test_a_commit_that_fails_is_tried_again_until_the_journal_takes_it() -> None:
    journal = FakeJournal()
    log = new_log(journal)
    await log.record([started("a")])
    journal.failing = DISK_FULL
    recording = asyncio.create_task(log.record([completed("a")]))
    await let_run()
    assert not recording.done()
    assert log.sequence == 2
    journal.failing = None
    await recording
    log.close()
    assert texts(await watched(log)) == ["run_started", "step_started", "step_completed"]


async def test_a_log_that_is_closed_stops_trying() -> None:
    journal = FakeJournal()
    log = new_log(journal)
    await log.record([started("a")])
    journal.failing = DISK_FULL
    recording = asyncio.create_task(log.record([completed("a")]))
    await let_run()
    log.close()
    with pytest.raises(JournalError, match="the disk is full"):
        await recording


async def test_what_could_not_be_written_is_never_shown_and_breaks_the_log() -> None:
    journal = FakeJournal()
    log = new_log(journal)
    await log.record([started("a")])
    journal.failing = DAMAGED
    with pytest.raises(JournalError, match="the file is damaged"):
        await log.record([completed("a")])
    journal.failing = None
    with pytest.raises(JournalError, match="the file is damaged"):
        await log.record([completed("a")])
    log.close()
    assert texts(await watched(log)) == ["run_started", "step_started"]


async def test_a_chunk_that_gets_no_number_fails() -> None:
    journal = FakeJournal()
    log = new_log(journal)
    await log.record([started("a")])
    journal.failing = DAMAGED
    with pytest.raises(JournalError, match="the file is damaged"):
        for _ in range(2000):
            await log.add_chunk("a", 1, "x", "")
            await asyncio.sleep(0)
    assert log.sequence <= journal.reserved


async def test_all_who_wait_for_a_failing_commit_get_its_error() -> None:
    journal = FakeJournal()
    log = new_log(journal)
    journal.gate.clear()
    records = [asyncio.create_task(log.record([started(step)])) for step in "abc"]
    await let_run()
    journal.failing = DAMAGED
    journal.gate.set()
    outcomes = await asyncio.gather(*records, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [JournalError] * 3


async def test_what_a_cancelled_caller_recorded_is_written_and_shown_all_the_same() -> None:
    journal = FakeJournal()
    log = new_log(journal)
    journal.gate.clear()
    recording = asyncio.create_task(log.record([started("a")]))
    await let_run()
    recording.cancel()
    with pytest.raises(asyncio.CancelledError):
        await recording
    journal.gate.set()
    log.close()
    assert texts(await watched(log)) == ["run_started", "step_started"]
    assert len(journal.changes) == 1


async def test_a_closed_log_takes_no_more() -> None:
    log = new_log(FakeJournal())
    await log.record([started("a")])
    log.close()
    await log.add_chunk("a", 1, "late", "")
    with pytest.raises(RuntimeError, match="closed"):
        await log.record([completed("a")])
    assert texts(await watched(log)) == ["run_started", "step_started"]


# Watchers.


async def test_a_watcher_that_does_not_read_does_not_hold_up_the_run() -> None:
    log = new_log(FakeJournal())
    async with aclosing(log.watch(0)) as slow:
        await anext(slow)
        await log.record([started("a")])
        for _ in range(1000):
            await log.add_chunk("a", 1, "x", "")
        assert (await anext(slow)).type is EventType.STEP_STARTED
        assert (await anext(slow)).content == "x" * 1000


@pytest.mark.parametrize("how", ["cancelled", "closed"])
async def test_a_watcher_that_leaves_leaves_nothing_behind(how: str) -> None:
    log = new_log(FakeJournal())
    if how == "cancelled":
        task = asyncio.create_task(watched(log))
        await let_run()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        async with aclosing(log.watch(0)) as events:
            await anext(events)
    gc.collect()
    assert not log._news


async def test_watchers_end_when_the_log_is_closed() -> None:
    log = new_log(FakeJournal())
    watchers = [asyncio.create_task(watched(log)) for _ in range(3)]
    await let_run()
    log.close()
    assert [texts(events) for events in await asyncio.gather(*watchers)] == [["run_started"]] * 3


async def test_nothing_of_the_log_runs_on_after_the_last_record() -> None:
    before = asyncio.all_tasks()
    log = new_log(FakeJournal())
    await log.record([started("a")])
    await let_run()
    assert asyncio.all_tasks() == before


async def test_progress_is_seen_at_once_and_the_journal_keeps_the_last_and_no_event() -> None:
    journal = FakeJournal()
    log = new_log(journal)
    await log.record([started("a")])
    journal.gate.clear()
    for row in range(3):
        log.add_progress("a", 1, str(row))
        await let_run()
    events = [event.result async for event in _until_waiting(log)]
    journal.gate.set()
    await let_run()
    log.close()
    assert events[-1] == "2"
    assert [change.progress for change in journal.changes[-2:]] == [{"a": "0"}, {"a": "2"}]
    assert [stored.event.type for stored in journal.stored()] == [EventType.RUN_STARTED, EventType.STEP_STARTED]


async def _until_waiting(log: RunLog) -> AsyncIterator[RunEvent]:
    """The events that are visible now."""
    async with aclosing(log.watch(0)) as events:
        with contextlib.suppress(TimeoutError):
            while True:
                yield await asyncio.wait_for(anext(events), 0.05)


@pytest.mark.parametrize(("step", "attempt"), [("a", 2), ("b", 1)])
async def test_progress_of_an_attempt_that_does_not_run_is_ignored(step: str, attempt: int) -> None:
    journal = FakeJournal()
    log = new_log(journal)
    await log.record([started("a")])
    log.add_progress(step, attempt, "1")
    log.close()
    assert texts(await watched(log)) == ["run_started", "step_started"]
    assert len(journal.changes) == 1


async def test_a_log_whose_writer_fails_by_a_fault_of_its_own_breaks_for_all_who_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = new_log(FakeJournal())
    monkeypatch.setattr(log, "_has_changes", lambda: 1 / 0)
    with pytest.raises(JournalError, match="ZeroDivisionError"):
        await asyncio.wait_for(log.record([started("a")]), 10)
    log.close()
