"""An event loop that something holds is reported, at a bounded rate."""

from __future__ import annotations

import asyncio
import os
import time

import pytest
from structlog.testing import capture_logs

from headwater_server.telemetry import loop_lag
from headwater_server.telemetry.loop_lag import LoopLag, watch_loop
from headwater_server.telemetry.starved import StarvedClock


def test_the_longest_lag_is_reported_once_in_ten_seconds() -> None:
    lag = LoopLag()
    with capture_logs() as lines:
        for now, late in enumerate([0.0, 0.2, 0.3, 0.9, 2.0, 0.4]):
            lag.note(float(now), late, 0.0)
        lag.note(12.5, 0.1, 0.0)
        lag.note(30.0, 0.1, 0.0)
    assert [(line["event"], line["log_level"], line["times"], line["longest_seconds"]) for line in lines] == [
        ("loop held", "warning", 1, 0.3),
        ("loop held", "warning", 3, 2.0),
    ]


def test_a_loop_for_which_the_machine_had_no_processor_was_not_held() -> None:
    lag = LoopLag()
    with capture_logs() as lines:
        lag.note(0.0, 3.0, 2.9)
        lag.note(20.0, 3.0, 2.0)
    [line] = lines
    assert (line["longest_seconds"], line["starved_seconds"]) == (1.0, 2.9)


async def test_a_loop_that_is_held_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_lag, "MAX_LAG_SECONDS", 0.02)
    lags: list[float] = []
    with capture_logs() as lines:
        watching = asyncio.create_task(watch_loop(starved=lambda: 0.0, on_lag=lags.append))
        await asyncio.sleep(0)
        time.sleep(loop_lag.EVERY_SECONDS + 0.03)  # noqa: ASYNC251  holds the loop, as it is meant to
        while not lines:
            await asyncio.sleep(0.01)
        watching.cancel()
    assert lines[0]["longest_seconds"] >= 0.02
    assert max(lags) >= 0.02


def test_the_time_without_a_processor_only_rises() -> None:
    with StarvedClock() as starved:
        assert 0.0 <= starved.seconds() <= starved.seconds()


def test_a_system_that_does_not_say_has_given_a_processor_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise FileNotFoundError

    monkeypatch.setattr(os, "open", refuse)
    with StarvedClock() as starved:
        assert starved.seconds() == 0.0


def test_the_clock_closes_its_file() -> None:
    def files() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = files()
    with StarvedClock() as starved:
        starved.seconds()
        assert files() == before + 1
    assert files() == before
