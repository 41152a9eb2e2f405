"""The rates of `headwater top`: differences of two answers, and nothing where there is no difference."""

from __future__ import annotations

from typing import Any

from google.protobuf.json_format import ParseDict

from headwater.cli.top.command import text_of
from headwater.cli.top.rates import view
from headwater.v1.operator_service_pb2 import GetServerStatusResponse


def status(seconds: int, *processes: dict[str, Any], chunks: float = 0, tokens: float = 0) -> GetServerStatusResponse:
    facts = {
        "readTime": f"2026-01-01T00:00:{seconds:02}Z",
        "serverVersion": "1",
        "processes": list(processes),
        "models": [{"provider": "p", "model": "m", "chunks": chunks, "outputTokens": tokens, "cost": "0.5"}],
        "queues": [{"queue": "gpu", "workers": 2, "waitingTasks": 3, "runningTasks": 4}],
    }
    return ParseDict(facts, GetServerStatusResponse())


def process(index: int, cpu_seconds: float) -> dict[str, Any]:
    return {"process": index, "answers": True, "cpuSeconds": cpu_seconds, "memoryBytes": 2**21, "loopLag": "0.0042s"}


def lines(now: GetServerStatusResponse, before: GetServerStatusResponse | None) -> list[str]:
    return text_of(view(now, before)).split("\n")


def test_rates_are_by_the_servers_own_clock():
    before = status(10, process(0, 1.0), chunks=100, tokens=50)
    now = status(12, process(0, 1.5), chunks=140, tokens=51)
    shown = lines(now, before)
    assert "20.0 chunks/s, 0.5 tokens/s" in shown[0]
    assert shown[3].split() == ["0", "0", "25%", "2", "MiB", "4", "ms", "0"]
    assert shown[6].split()[:4] == ["p/m", "0", "20.0", "0.5"]
    assert shown[9].split() == ["gpu", "2", "4", "3"]


def test_the_first_answer_has_no_rates():
    shown = lines(status(10, process(0, 1.0), chunks=100), None)
    assert "- chunks/s, - tokens/s" in shown[0]
    assert shown[6].split()[:4] == ["p/m", "0", "-", "-"]


def test_a_process_that_was_started_again_has_no_rate_below_zero():
    before, now = status(10, process(0, 9.0), chunks=100), status(12, process(0, 0.5), chunks=10)
    shown = lines(now, before)
    assert shown[3].split()[2] == "-"
    assert shown[6].split()[2] == "-"


def test_two_answers_of_one_moment_have_no_rates():
    same = status(10, process(0, 1.0), chunks=100)
    assert lines(same, same)[6].split()[2] == "-"


def test_a_process_without_an_answer_is_shown_as_such():
    shown = lines(status(10, process(0, 1.0), {"process": 1}), None)
    assert shown[4].split() == ["1", "no", "answer"]


def test_sections_without_rows_are_left_out():
    assert len(lines(GetServerStatusResponse(), None)) == 1
