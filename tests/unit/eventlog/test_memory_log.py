"""The log of a resumable stream: exact about what follows a sequence, and about what is gone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater_server.domain.chunks import Chunk, Delta, FinalChunk, Finish, FinishReason, StreamStats
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.messages import Message, Role, Text, Thinking
from headwater_server.eventlog.memory_log import MemoryLog
from headwater_server.eventlog.stream_log import ExpiredError

CUT = HeadwaterError(Reason.STREAM_INTERRUPTED, "cut")


def chunk(sequence: int, text: str = "x") -> Chunk:
    return Chunk(sequence, 0.0, Delta(content=text))


def final(sequence: int) -> FinalChunk:
    return FinalChunk(sequence, 0.0, Finish(FinishReason.STOP), StreamStats(None, 0.0, 0, None), [])


def log_of(*entries: Chunk | FinalChunk | HeadwaterError, after: int = 0) -> MemoryLog:
    log = MemoryLog(after)
    for entry in entries:
        log.append(entry)
    return log


@pytest.mark.parametrize(("after", "place"), [(0, 0), (1, 1), (2, 2), (5, 3), (6, 3)])
def test_a_reader_begins_behind_the_chunk_that_it_has_and_always_gets_an_end(after: int, place: int) -> None:
    log = log_of(chunk(1), chunk(2), chunk(5), final(6))
    assert log.place_after(after) == place


@pytest.mark.parametrize("after", [3, 4, 7, -1])
def test_a_number_that_no_chunk_has_is_refused(after: int) -> None:
    log = log_of(chunk(1), chunk(2), chunk(5), final(6))
    with pytest.raises((ValueError, ExpiredError)):
        log.place_after(after)


def test_an_error_is_an_end_that_follows_the_last_chunk() -> None:
    log = log_of(chunk(1), CUT)
    assert log.entry(log.place_after(1)) is CUT
    assert log_of(CUT).place_after(0) == 0


def test_places_stay_when_old_entries_go_and_what_is_gone_is_named() -> None:
    log = log_of(chunk(1), chunk(2), chunk(5), chunk(6))
    log.drop_first()
    log.drop_first()
    assert (log.first, log.first_sequence) == (2, 3)
    with pytest.raises(ExpiredError):
        log.place_after(1)
    assert log.place_after(2) == 2
    assert log.place_after(6) == 4


def test_a_round_follows_the_end_of_the_round_before() -> None:
    log = log_of(chunk(1), final(2), chunk(3), final(4))
    assert [each.sequence for each in log.chunks(0)] == [1]
    assert log.place_after(2) == 2
    assert log.place_after(4) == 3


def test_a_round_that_has_begun_is_found_by_the_number_after_which_it_begins() -> None:
    log = log_of(chunk(1), final(2))
    with pytest.raises(ValueError, match="3"):
        log.place_after(3)
    log.begin_round(3)
    assert log.place_after(3) == 2
    log.append(chunk(4))
    assert (log.place_after(3), log.place_after(4)) == (2, 3)


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 50)), min_size=1, max_size=30), st.integers(0, 30))
def test_whoever_resumes_gets_all_that_follows_or_learns_that_it_is_gone(
    steps: list[tuple[int, int]], dropped: int
) -> None:
    log, sequence, kept = MemoryLog(), 0, []
    for step, length in steps:
        sequence += step
        log.append(chunk(sequence, "x" * length))
        kept.append(sequence)
    for _ in range(min(dropped, len(kept))):
        log.drop_first()
    gone, left = kept[:dropped], kept[dropped:]
    for after in [0, *kept]:
        follows = [each for each in kept if each > after]
        if any(each in gone for each in follows):
            with pytest.raises(ExpiredError):
                log.place_after(after)
        else:
            assert [each.sequence for each in log.chunks(log.place_after(after))] == follows
    assert (log.cost == 0) == (not left)


def test_text_that_is_not_ascii_costs_what_python_needs_for_it() -> None:
    plain, other = log_of(chunk(1, "a" * 1_000)), log_of(chunk(1, "\N{GRINNING FACE}" * 1_000))
    assert other.cost - plain.cost == 3_000
    other.drop_first()
    assert other.cost == 0


def test_the_message_to_send_back_counts_too() -> None:
    end = final(1)
    end.message = Message(Role.ASSISTANT, (Text("a" * 1_000), Thinking("b" * 1_000, "")))
    assert log_of(end).cost - log_of(final(1)).cost >= 2_000
