"""A process that hangs is told from one that a busy machine gives no processor."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from headwater_server.telemetry.starved import starved_seconds
from headwater_server.transport.owners import heartbeats as heartbeats_module
from headwater_server.transport.owners.heartbeats import Heartbeats

OWNER = 1


class Machine:
    """The clock of a machine, and the time for which it gave the thread of a process no processor."""

    def __init__(self, path: Path) -> None:
        self.now = 1_000.0
        self.starved = 70.0
        self.asked: list[int] = []
        self.heartbeats = Heartbeats(path, 2, self._starved)

    def _starved(self, thread: int) -> float:
        self.asked.append(thread)
        return self.starved

    def passes(self, seconds: float, starved: float = 0.0) -> float:
        """Lets time pass; for how long the owner is silent then."""
        self.now += seconds
        self.starved += starved
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


def test_a_process_that_has_ended_without_a_word_is_silent(machine: Machine) -> None:
    machine.heartbeats.beat(OWNER)
    machine.starved = 0.0  # the system knows no such thread
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


def test_the_system_says_how_long_a_thread_has_waited() -> None:
    mine = threading.get_native_id()
    assert starved_seconds() <= starved_seconds(mine) <= starved_seconds()
    assert starved_seconds(2**31 - 1) == 0.0
