"""The log says how full the journal is, before it is full."""

from __future__ import annotations

from pathlib import Path

from structlog.testing import capture_logs

from headwater_server.workflows.journal.base import Change, JournalFullError
from headwater_server.workflows.journal.fill import Fill
from headwater_server.workflows.journal.sqlite import SqliteJournal
from tests.support.runs.run_log import BEGUN, run_info, run_state


def reported(*percents: int) -> list[tuple[str, int]]:
    fill = Fill(1000 * 2**20)
    with capture_logs() as lines:
        for percent in percents:
            fill.note(percent * 10 * 2**20)
    return [(line["log_level"], line["percent"]) for line in lines]


def test_it_is_reported_at_each_mark_with_a_warning_from_80_percent() -> None:
    assert reported(3, 4, 49, 50, 51, 79, 81, 82, 96, 100, 110) == [
        ("info", 50), ("warning", 81), ("warning", 96), ("warning", 100)
    ]  # fmt: skip


def test_a_start_with_a_full_journal_is_a_warning() -> None:
    assert reported(97) == [("warning", 97)]


def test_it_is_reported_when_it_has_become_smaller_but_not_for_a_little() -> None:
    assert reported(81, 79, 81, 76, 74, 30) == [("warning", 81), ("info", 74), ("info", 30)]


async def test_a_journal_that_fills_up_says_so(tmp_path: Path) -> None:
    with capture_logs() as lines:
        journal = await SqliteJournal.open(tmp_path, 2**20)
        try:
            for number in range(20):
                info = run_info(f"run {number}")
                state = run_state(info)
                state.context["k"] = f'"{"x" * 50_000}"'
                await journal.create(info, state, Change(events=[BEGUN]))
        except JournalFullError:
            pass
        finally:
            await journal.close()
    percents = [line["percent"] for line in lines if line["event"] == "journal size"]
    assert 50 <= percents[0] < 80 <= percents[1] < 95
    assert {line["journal_mib"] for line in lines if line["event"] == "journal size"} == {1}
