"""The runs that have not ended, and the room that they take."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from headwater_server.domain.errors import HeadwaterError, Reason
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


def check_room(active: Iterable[ActiveRun], more: int, most: int) -> None:
    """Raises HeadwaterError (SERVER_OVERLOADED) when another run of so many bytes would pass the bound of all."""
    if sum(run.size for run in active) + more > most:
        raise HeadwaterError(
            Reason.SERVER_OVERLOADED,
            f"the runs that have not ended take {most // 2**20} MiB, as active_runs_mib allows; try again later",
            retry_after_seconds=RETRY_AFTER_SECONDS,
        )


def journal_full(error: JournalFullError) -> HeadwaterError:
    """The error for a run that the journal has no room for."""
    return HeadwaterError(
        Reason.SERVER_OVERLOADED,
        f"{error}; delete runs, or raise it",
        retry_after_seconds=FULL_RETRY_AFTER_SECONDS,
    )
