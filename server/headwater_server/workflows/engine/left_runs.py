"""The runs that an earlier process left: they are resumed in the background, one after the other, oldest first."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeAlias

import structlog

from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.failure import Failure
from headwater_server.telemetry.background import in_background
from headwater_server.telemetry.logging import fault_facts
from headwater_server.workflows.journal.base import Journal, JournalDamagedError, JournalError

Alone: TypeAlias = Callable[[str, Callable[[], Coroutine[Any, Any, None]]], Awaitable[None]]
"""Does some work on a run."""

log = structlog.get_logger("headwater.workflows")


class LeftRuns:
    """Resumes the runs that an earlier process left, from `open` to `close`.

    A run that cannot be resumed fails, with the reason; the others are resumed all the same.

    Args:
        journal: has the runs.
        alone: does some work on a run when nothing else changes it.
        activate: makes a run active, and notes that here.
        clock: the time in seconds since the epoch.
    """

    def __init__(
        self, journal: Journal, alone: Alone, activate: Callable[[str], Awaitable[object]], clock: Callable[[], float]
    ) -> None:
        self._journal = journal
        self._alone = alone
        self._activate = activate
        self._clock = clock
        self._waiting: dict[str, None] = {}
        self._resumed = 0
        self._resuming: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Lists the runs, and begins to resume them. Raises JournalError when they cannot be listed."""
        self._waiting = dict.fromkeys(await self._journal.unfinished())
        self._resuming = in_background(self._resume_all(), "headwater resume")

    def __contains__(self, run_id: str) -> bool:
        """Whether a run waits to be resumed."""
        return run_id in self._waiting

    def note_active(self, run_id: str) -> None:
        """A run is active: if it waited to be resumed, it waits no more."""
        if run_id in self._waiting:
            del self._waiting[run_id]
            self._resumed += 1

    async def resume(self, run_id: str) -> None:
        """Resumes a run before its turn. Raises JournalError or HeadwaterError when it cannot be resumed."""

        async def activate() -> None:
            if run_id not in self._waiting:
                return  # a call has resumed it meanwhile, and it may have ended
            try:
                await self._activate(run_id)
            except HeadwaterError:  # it has failed, and the log says why; or it was removed
                self._waiting.pop(run_id, None)
                raise

        if run_id in self._waiting:
            await self._alone(run_id, activate)

    async def all_resumed(self) -> None:
        """Waits until each run has been resumed, or has failed."""
        if self._resuming is not None:
            await asyncio.wait([self._resuming])

    async def _resume_all(self) -> None:
        for run_id in list(self._waiting):
            try:
                await self.resume(run_id)
            except HeadwaterError:
                continue
            except Exception as error:  # noqa: BLE001  one run must not keep the others from being resumed
                self._waiting.pop(run_id, None)
                await self._fail(run_id, error)
        if self._resumed:
            log.info("runs resumed", runs=self._resumed)

    async def _fail(self, run_id: str, error: Exception) -> None:
        """Notes that a run cannot be resumed, unless the journal cannot be read at this time."""
        why = str(error) if isinstance(error, JournalError) else type(error).__name__
        log.error("run not resumed", run_id=run_id, why=why, **fault_facts(error))
        if isinstance(error, JournalError) and not isinstance(error, JournalDamagedError):
            return
        text = "the server could not resume the run, its log says why; ResumeWorkflowRun tries again"
        try:
            await self._journal.fail(run_id, Failure(Reason.INTERNAL, text), self._clock())
        except JournalError as trouble:
            log.error("run not resumed", run_id=run_id, why=str(trouble))

    async def close(self) -> None:
        """Leaves the runs that still wait to the next process."""
        if self._resuming is not None:
            self._resuming.cancel()
            await asyncio.wait([self._resuming])
