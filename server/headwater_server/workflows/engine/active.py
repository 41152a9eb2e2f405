"""The runs that have not ended, and the room that they take."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from headwater_server.domain.errors import HeadwaterError, overloaded
from headwater_server.domain.workflow import RunState
from headwater_server.workflows.engine.run_log import RunLog
from headwater_server.workflows.engine.scheduler import Scheduler
from headwater_server.workflows.journal.base import JournalFullError, RunInfo

DEFAULT_MAX_BYTES = 160 * 2**20
RUN_BYTES = 8 * 1024
STEP_BYTES = 1024
RETRY_AFTER_SECONDS = 5.0
FULL_RETRY_AFTER_SECONDS = 60.0


@dataclass(slots=True)
class ActiveRun:
    """A run that has not ended, and the task that drives it. `begun_with`: the bytes at its beginning."""

    info: RunInfo
    state: RunState
    log: RunLog
    scheduler: Scheduler
    task: asyncio.Task[None]
    begun_with: int

    @property
    def size(self) -> int:
        """About so many bytes of memory."""
        return max(self.begun_with, self.scheduler.size) + RUN_BYTES + STEP_BYTES * len(self.state.steps)


@dataclass(frozen=True, slots=True)
class RunLimits:
    """The bounds of all runs that have not ended: how many, and their memory in bytes."""

    count: int = 10_000
    size: int = DEFAULT_MAX_BYTES


DEFAULT_LIMITS = RunLimits()


class Room:
    """The room for runs.

    Args:
        limits: the bounds.
        active: the runs that have not ended, by id; their owner changes it.
    """

    def __init__(self, limits: RunLimits, active: Mapping[str, ActiveRun]) -> None:
        self._limits = limits
        self._active = active
        self._beginning = 0

    @contextmanager
    def for_run(self, size: int = 0) -> Iterator[None]:
        """Begins a run of so many bytes in the block. Raises HeadwaterError (SERVER_OVERLOADED) where no room is."""
        most = self._limits
        if len(self._active) + self._beginning >= most.count:
            text = f"{most.count} runs have not ended, as many as max_runs allows; try again later, or raise it"
            raise overloaded(text, RETRY_AFTER_SECONDS, limit="max_runs")
        if sum(run.size for run in self._active.values()) + size > most.size:
            mib = most.size // 2**20
            text = f"the runs that have not ended take {mib} MiB, as active_runs_mib allows; try again later"
            raise overloaded(text, RETRY_AFTER_SECONDS, limit="active_runs_mib")
        self._beginning += 1
        try:
            yield
        finally:
            self._beginning -= 1


def journal_full(error: JournalFullError) -> HeadwaterError:
    """The error for a run that the journal has no room for."""
    return overloaded(f"{error}; delete runs, or raise it", FULL_RETRY_AFTER_SECONDS, limit="journal_mib")
