"""A process that hangs, beside one that a busy machine gives no processor: only the first is noticed."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from headwater_server.telemetry.starved import Given, StarvedClock, given, is_runnable
from headwater_server.transport.owners import heartbeats as heartbeats_module
from headwater_server.transport.owners.heartbeats import Heartbeats

OWNER = 1


class Machine:
    """The clock of a machine, and what it gave the thread of a process."""

    def __init__(self, path: Path) -> None:
        self.now = 1_000.0
        self.given: Given | None = Given(20.0, 70.0)
        self.runnable = False
        self.asked: list[int] = []
        self.heartbeats = Heartbeats(path, 2, self._given, lambda _: self.runnable)

    def _given(self, thread: int) -> Given | None:
        self.asked.append(thread)
        return self.given

    def passes(self, seconds: float, *, ran: float = 0.0, starved: float = 0.0) -> float:
        """Lets time pass; for how long the owner is silent then."""
        self.now += seconds
        if self.given is not None:
            self.given = Given(self.given.ran + ran, self.given.starved + starved)
        return round(self.heartbeats.silence(OWNER), 3)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    machine = Machine(tmp_path / "heartbeats")
    monkeypatch.setattr(heartbeats_module, "time", SimpleNamespace(monotonic=lambda: machine.now))
    with machine.heartbeats:
        yield machine


def test_a_process_that_does_not_beat_is_silent(machine: Machine) -> None:
    machine.heartbeats.beat(OWNER)
    assert [machine.passes(0.25), machine.passes(1.0), machine.passes(2.0)] == [0.25, 1.25, 3.25]


def test_the_time_without_a_processor_is_no_silence(machine: Machine) -> None:
    machine.heartbeats.beat(OWNER)
    assert machine.passes(3.0, starved=2.75) == 0.25
    assert machine.passes(1.0) == 1.25  # it has one again, and is silent
    assert set(machine.asked) == {threading.get_native_id()}


def test_a_process_that_waits_for_a_processor_is_not_silent(machine: Machine) -> None:
    machine.heartbeats.beat(OWNER)
    machine.runnable = True
    assert machine.passes(3.0, ran=0.1) == 0.1
    machine.runnable = False  # it was stopped
    assert machine.passes(1.0, starved=2.9) == 1.1


def test_a_process_that_only_computes_is_silent(machine: Machine) -> None:
    machine.heartbeats.beat(OWNER)
    machine.runnable = True
    assert machine.passes(2.0, ran=1.9) == 1.9


def test_all_time_is_silence_where_the_system_does_not_say(machine: Machine) -> None:
    machine.given = None
    machine.heartbeats.beat(OWNER)
    assert machine.passes(2.0) == 2.0


def test_a_process_without_a_heartbeat_is_not_silent(machine: Machine) -> None:
    assert machine.passes(5.0) == 0.0
    machine.heartbeats.beat(OWNER)
    machine.heartbeats.rest(OWNER)
    assert machine.passes(5.0) == 0.0


def test_a_process_that_beats_costs_no_look_at_the_system(machine: Machine) -> None:
    machine.heartbeats.beat(OWNER)
    machine.asked.clear()
    assert machine.passes(0.4) == 0.4
    assert machine.asked == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says so")
def test_the_system_says_what_a_thread_was_given() -> None:
    mine = threading.get_native_id()
    with StarvedClock() as starved:
        assert starved.seconds() <= (given(mine) or Given(0.0, 0.0)).starved <= starved.seconds()
    assert is_runnable(mine)
    no_thread = 2**31 - 1
    assert (given(no_thread), is_runnable(no_thread)) == (None, False)
