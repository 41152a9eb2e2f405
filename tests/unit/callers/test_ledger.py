"""The ledger of callers: buckets, places and months, and nothing that is lost."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread

import pytest

from headwater_server.callers.ledger import FILE_NAME, Ledger, MonthlyUse, Refusal, monthly_use
from headwater_server.callers.limits import CallerLimits

NOVEMBER = datetime(2026, 11, 30, 23, 0, tzinfo=UTC).timestamp()


class Times:
    """A calendar and the time since the machine's start, both to be set."""

    def __init__(self) -> None:
        self.now = NOVEMBER
        self.up = 1_000.0


@pytest.fixture
def times() -> Times:
    return Times()


class Ledgers:
    """Ledgers of the processes of a server, closed at the end."""

    def __init__(self, folder: Path, times: Times) -> None:
        self._folder = folder
        self._times = times
        self.all: list[Ledger] = []

    def __call__(self, process: int = 0, processes: int = 1) -> Ledger:
        ledger = Ledger(self._folder, process, processes, lambda: self._times.now, lambda: self._times.up)
        self.all.append(ledger)
        return ledger


@pytest.fixture
def ledgers(tmp_path: Path, times: Times) -> Iterator[Ledgers]:
    made = Ledgers(tmp_path, times)
    yield made
    for ledger in made.all:
        ledger.close()


def test_requests_of_a_minute_come_back_evenly_and_belong_to_one_caller(ledgers, times):
    ledger, limits = ledgers(), CallerLimits(requests_per_minute=60)
    assert [ledger.enter("alice", limits, 0) for _ in range(60)] == [None] * 60
    assert ledger.enter("alice", limits, 0) == Refusal("requests_per_minute", 1.0)
    assert ledger.enter("bob", limits, 0) is None
    times.up += 30
    assert [ledger.enter("alice", limits, 0) for _ in range(30)] == [None] * 30
    assert ledger.enter("alice", limits, 0) == Refusal("requests_per_minute", pytest.approx(1.0))


def test_a_refused_request_takes_nothing(ledgers, times):
    ledger, limits = ledgers(), CallerLimits(requests_per_minute=1, max_concurrent=1)
    assert ledger.enter("alice", limits, 0) is None
    for _ in range(100):
        assert ledger.enter("alice", limits, 0) == Refusal("max_concurrent", 1.0)
    ledger.leave("alice", limits, 0, 0)
    times.up += 60
    assert ledger.enter("alice", limits, 0) is None


def test_tokens_of_a_minute_take_the_estimate_and_are_put_right_at_the_end(ledgers, times):
    ledger, limits = ledgers(), CallerLimits(tokens_per_minute=600)
    assert ledger.enter("alice", limits, 500) is None
    assert ledger.enter("alice", limits, 200) == Refusal("tokens_per_minute", 10.0)
    ledger.leave("alice", limits, 500, 100)
    assert ledger.enter("alice", limits, 200) is None
    ledger.leave("alice", limits, 200, 1_100)  # 1,200 in all
    assert ledger.enter("alice", limits, 1) == Refusal("tokens_per_minute", pytest.approx(60.1))
    times.up += 61
    assert ledger.enter("alice", limits, 1) is None


def test_a_prompt_of_more_than_a_minute_goes_in_when_nothing_else_is_there(ledgers, times):
    ledger, limits = ledgers(), CallerLimits(tokens_per_minute=100)
    assert ledger.enter("alice", limits, 1_000) is None
    assert ledger.enter("alice", limits, 1) == Refusal("tokens_per_minute", pytest.approx(540.6))


@pytest.mark.parametrize("tokens", [2**31 - 1, -(2**31)])
def test_an_odd_report_neither_shuts_a_caller_out_for_more_than_an_hour_nor_gives_it_anything(ledgers, tokens):
    ledger, limits = ledgers(), CallerLimits(tokens_per_minute=100)
    ledger.enter("alice", limits, 10)
    ledger.leave("alice", limits, 10, tokens)
    refusal = ledger.enter("alice", limits, 101)
    assert refusal is None or refusal == Refusal("tokens_per_minute", pytest.approx(3_600))


def test_the_places_of_all_processes_count_and_those_of_a_killed_one_come_back_with_it(ledgers):
    limits = CallerLimits(max_concurrent=2)
    first, second = ledgers(0, 2), ledgers(1, 2)
    assert first.enter("alice", limits, 0) is second.enter("alice", limits, 0) is None
    assert first.enter("alice", limits, 0) == second.enter("alice", limits, 0) == Refusal("max_concurrent", 1.0)
    first.leave("alice", limits, 0, 0)
    assert second.enter("alice", limits, 0) is None
    again = ledgers(1, 2)  # the process was killed with both
    assert [again.enter("alice", limits, 0) for _ in range(2)] == [None, None]
    assert again.enter("alice", limits, 0) is not None
    alone = ledgers(0, 1)  # and now there is one process: the others' places are of no server that runs
    assert alone.enter("alice", limits, 0) is None


def test_a_month_is_kept_over_a_restart_and_begins_again_by_utc(ledgers, times, tmp_path):
    limits = CallerLimits(monthly_tokens=100)
    ledger = ledgers()
    for tokens in (60, 50):
        assert ledger.enter("alice", limits, 0) is None
        ledger.leave("alice", limits, 0, tokens)
    again = ledgers()
    assert again.enter("alice", limits, 0) == Refusal("monthly_tokens", 3_600.0)
    assert again.enter("bob", limits, 0) is None
    assert monthly_use(tmp_path) == [MonthlyUse("2026-11", "alice", 110, 2)]
    times.now += 3_600
    assert again.enter("alice", limits, 0) is None
    again.leave("alice", limits, 0, 7)
    times.now -= 3_600  # the clock is set back: November is as it was
    assert again.enter("alice", limits, 0) == Refusal("monthly_tokens", 3_600.0)
    assert monthly_use(tmp_path)[0] == MonthlyUse("2026-12", "alice", 7, 1)


def test_a_machine_that_was_restarted_begins_its_minutes_again(ledgers, times):
    limits = CallerLimits(requests_per_minute=1, tokens_per_minute=1)
    ledgers().enter("alice", limits, 100)
    times.up = 3.0
    assert ledgers().enter("alice", limits, 1) is None


def test_limits_that_change_count_from_what_was_used(ledgers, times):
    ledger = ledgers()
    for _ in range(10):
        ledger.enter("alice", CallerLimits(requests_per_minute=10), 0)
    assert ledger.enter("alice", CallerLimits(requests_per_minute=20), 0) is None
    assert ledger.enter("alice", CallerLimits(requests_per_minute=5), 0) == Refusal("requests_per_minute", 84.0)


def test_rows_that_count_no_more_are_deleted(ledgers, times, tmp_path):
    ledger, limits = ledgers(), CallerLimits(requests_per_minute=1, max_concurrent=9, monthly_tokens=9)
    for i in range(50):
        ledger.enter(f"jwt-{i}", limits, 0)
        ledger.leave(f"jwt-{i}", limits, 0, 1)
    times.up += 4_000
    times.now += 500 * 86_400
    ledger.enter("alice", limits, 0)
    tables = "(SELECT count(*) FROM minute), (SELECT count(*) FROM running), (SELECT count(*) FROM month)"
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as db:
        assert db.execute(f"SELECT {tables}").fetchone() == (1, 1, 0)


def test_the_file_is_for_this_user_alone_and_an_odd_one_is_refused(ledgers, tmp_path):
    ledgers().enter("a'; DROP TABLE month; --", CallerLimits(monthly_tokens=1), 0)
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.glob(f"{FILE_NAME}*")} == {0o600}
    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    (other / FILE_NAME).symlink_to(tmp_path / FILE_NAME)
    with pytest.raises(OSError, match="is a link"):
        Ledger(other)
    (other / FILE_NAME).unlink()
    (other / FILE_NAME).write_bytes(b"no database" * 1_000)
    with pytest.raises(sqlite3.DatabaseError):
        Ledger(other)


def test_processes_that_begin_and_count_at_once_lose_nothing(tmp_path):
    limits = CallerLimits(requests_per_minute=2**30, tokens_per_minute=2**30, max_concurrent=100, monthly_tokens=2**40)
    faults: list[Exception] = []

    def process(number: int) -> None:
        try:
            ledger = Ledger(tmp_path, number, 4)
            for _ in range(50):
                assert ledger.enter("alice", limits, 3) is None
                ledger.leave("alice", limits, 3, 10)
            ledger.close()
        except Exception as error:  # noqa: BLE001  the test shows it
            faults.append(error)

    threads = [Thread(target=process, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert [(use.tokens, use.requests) for use in monthly_use(tmp_path)] == [(2_000, 200)]
