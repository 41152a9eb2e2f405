"""The events of a run in memory: order, bounds, and the report of text that is gone."""

from __future__ import annotations

import pytest

from headwater_server.domain.workflow import EventType, RunEvent
from headwater_server.eventlog import chunks as chunk_buffer
from headwater_server.eventlog import store as event_store
from headwater_server.eventlog.store import Cursor, EventStore, replay
from headwater_server.eventlog.stored_events import ChunkMark, StoredEvent

ALL = 2**31 - 1


def read_all(store: EventStore, after: int = 0, visible: int = ALL) -> list[RunEvent]:
    cursor = Cursor(after)
    events = []
    while (event := store.read(cursor, visible)) is not None:
        events.append(event)
    return events


def speak(store: EventStore, numbers: str, first: int = 1, size: int = 1) -> None:
    """Adds a chunk of attempt 1 of each step named, one after another."""
    for number, step in enumerate(numbers, first):
        store.add_chunk(step, 1, number, float(number), step * size, "")


def told(events: list[RunEvent]) -> list[tuple[int, str, str, int]]:
    return [(event.sequence, event.step, event.content, event.omitted) for event in events]


def test_neighbouring_chunks_of_an_attempt_come_as_one_event_with_the_time_of_the_first() -> None:
    store = EventStore()
    speak(store, "aaabba")
    events = read_all(store)
    assert told(events) == [(3, "a", "aaa", 0), (5, "b", "bb", 0), (6, "a", "a", 0)]
    assert [event.create_time for event in events] == [1.0, 4.0, 6.0]


def test_nothing_is_read_that_is_not_visible() -> None:
    store = EventStore()
    speak(store, "aaaab")
    assert told(read_all(store, visible=2)) == [(2, "a", "aa", 0)]


def test_an_event_holds_at_most_16_ki_characters() -> None:
    store = EventStore()
    speak(store, "a" * 5, size=6000)
    assert [len(event.content) for event in read_all(store)] == [12000, 12000, 6000]


def test_joined_text_is_read_as_the_chunks_were() -> None:
    store = EventStore()
    speak(store, "aabaab")
    before = [told(read_all(store, after)) for after in range(7)]
    store.finish("a", 1)
    store.finish("b", 1)
    assert [told(read_all(store, after)) for after in range(7)] == before


def test_text_is_kept_up_to_the_bound() -> None:
    store = EventStore(max_characters=100_000)
    speak(store, "a" * 1000, size=1000)
    assert store._size <= 100_000
    kept = sum(len(event.content) for event in read_all(store))
    assert 60_000 < kept < 100_000


def test_a_reader_is_told_what_it_missed_with_the_next_text() -> None:
    store = EventStore(max_characters=100_000)
    speak(store, "a" * 1000, size=1000)
    events = read_all(store)
    assert events[0].omitted + sum(len(event.content) for event in events) == 1_000_000
    assert events[0].content
    assert not any(event.omitted for event in events[1:])


def test_a_reader_that_has_read_part_of_what_is_gone_is_told_of_the_rest() -> None:
    store = EventStore(max_characters=100_000)
    speak(store, "a" * 1000, size=1000)
    for after in (1, 500):
        events = read_all(store, after)
        assert events[0].omitted + sum(len(event.content) for event in events) == 1_000_000 - after * 1000
    assert not any(event.omitted for event in read_all(store, 950))


def test_a_reader_is_told_of_the_loss_when_nothing_is_left_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_store, "_DROP_AT_ONCE", 1_000_000)
    store = EventStore(max_characters=500)
    speak(store, "a" * 5, size=10)
    assert told(read_all(store)) == [(5, "a", "", 50)]


def test_text_of_ended_attempts_is_dropped_too() -> None:
    store = EventStore(max_characters=100_000)
    speak(store, "a" * 60, size=1000)
    store.finish("a", 1)
    speak(store, "b" * 60, first=61, size=1000)
    assert store._size <= 100_000
    events = read_all(store)
    sizes = [sum(len(e.content) + e.omitted for e in events if e.step == step) for step in "ab"]
    assert sizes == [60_000, 60_000]
    assert sum(event.omitted for event in events if event.step == "b") == 0


def test_the_index_of_dropped_chunks_is_bounded_and_the_loss_stays_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_store, "_DROP_AT_ONCE", 1000)
    store = EventStore(max_characters=10_000)
    speak(store, "abc" * 5000)
    store.add_event(RunEvent(EventType.RUN_WARNING, sequence=15_001))
    speak(store, "ab" * 5000, first=15_002)
    assert len(store._slots) < 3000
    events = read_all(store)
    assert len(events) < 3000
    assert [event.sequence for event in events] == sorted({event.sequence for event in events})
    sizes = [sum(len(e.content) + e.omitted for e in events if e.step == step) for step in "abc"]
    assert sizes == [10_000, 10_000, 5000]


def test_a_loss_is_told_before_anything_that_happened_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_store, "_DROP_AT_ONCE", 1000)
    monkeypatch.setattr(event_store, "_COMPACT_FROM", 8)
    store = EventStore(max_characters=2000)
    speak(store, "ab" * 50 + "a")
    store.add_event(RunEvent(EventType.RUN_WARNING, sequence=102))
    speak(store, "c" * 100, first=103)
    speak(store, "dc" * 10, first=203)
    events = read_all(store)
    assert told(events[:3]) == [(100, "b", "", 50), (101, "a", "", 51), (102, "", "", 0)]


def test_a_reader_that_comes_back_gets_all_kept_text_that_it_does_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_store, "_DROP_AT_ONCE", 500)
    monkeypatch.setattr(event_store, "_COMPACT_FROM", 8)
    store = EventStore(max_characters=5000)
    speak(store, "ab" * 100)
    for _ in range(3):  # whenever the index is compacted
        store._compact()
        events = read_all(store)
        assert len([event for event in events if event.content]) > 30
        for i, event in enumerate(events):
            assert [e.sequence for e in read_all(store, event.sequence)] == [e.sequence for e in events[i + 1 :]]
        speak(store, "ab" * 10, first=store._starts[-1] + 1)


def test_marks_of_dropped_text_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunk_buffer, "MAX_DROPPED_MARKS", 100)
    store = EventStore(max_characters=50_000)
    speak(store, "a" * 20_000)
    merged = store.finish("a", 1)
    assert merged is not None
    assert len(merged.marks) < 1000
    assert merged.event.omitted + len(merged.event.content) == 20_000
    events = read_all(store)
    assert events[0].omitted + sum(len(event.content) for event in events) == 20_000


def test_void_chunks_are_gone_with_their_cost_and_their_slots() -> None:
    store = EventStore()
    for attempt in range(1, 3000):
        store.add_chunk("a", attempt, attempt, 0.0, "text", "")
        store.discard("a", attempt)
    assert store._size == len("text") + chunk_buffer.CHUNK_COST
    assert len(store._slots) < 2000
    assert [event.attempt for event in read_all(store)] == [2999]


def test_a_merged_chunk_comes_back_from_the_journal_as_it_was() -> None:
    store = EventStore(max_characters=3000)
    speak(store, "ab" * 40, size=10)
    stored = [store.finish("a", 1), store.finish("b", 1)]
    entries = [entry for entry in stored if entry is not None]
    restored = EventStore(entries)
    for after in range(81):
        assert told(read_all(restored, after)) == told(read_all(store, after))
    assert restored.finish("a", 1) == entries[0]


def test_an_old_attempt_that_the_journal_has_is_void_when_a_new_one_started() -> None:
    merged = StoredEvent(
        RunEvent(EventType.STEP_CHUNK, step="a", attempt=1, content="x", sequence=3), (ChunkMark(3, 1, 0),)
    )
    again = StoredEvent(RunEvent(EventType.STEP_STARTED, step="a", attempt=2, sequence=9))
    assert [event.sequence for event in replay([merged], 0)] == [3]
    assert [event.sequence for event in replay([merged, again], 0)] == [9]


def test_a_replay_keeps_all_text() -> None:
    store = EventStore(max_characters=10_000_000)
    speak(store, "a" * 1000, size=4000)
    merged = store.finish("a", 1)
    assert merged is not None
    assert sum(len(event.content) for event in replay([merged], 0)) == 4_000_000


def test_progress_takes_the_place_of_the_progress_before() -> None:
    def progress(step: str, number: int) -> RunEvent:
        return RunEvent(EventType.STEP_PROGRESS, step=step, attempt=1, result=str(number), sequence=number)

    store = EventStore()
    speak(store, "a")
    store.add_progress(progress("a", 2))
    speak(store, "a", first=3)
    store.add_progress(progress("b", 4))
    speak(store, "a", first=5)
    for number in range(6, 5_000):
        store.add_progress(progress("a", number))
    assert len(store._slots) <= 5
    assert [(event.sequence, event.content, event.result) for event in read_all(store)] == [
        (3, "aa", ""), (4, "", "4"), (5, "a", ""), (4_999, "", "4999"),
    ]  # fmt: skip
    assert [event.sequence for event in read_all(store, after=3)] == [4, 5, 4_999]
