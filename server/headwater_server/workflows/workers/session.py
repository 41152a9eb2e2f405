"""One connection of a worker, as its call sees it."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from headwater_server.domain.errors import Reason
from headwater_server.domain.failure import AttemptLostError, Failure, StepError
from headwater_server.domain.workflow import Outcome
from headwater_server.workflows.workers.tasks import Attempt, HandedBack, Link, NotBegunError, Worker

if TYPE_CHECKING:
    from headwater_server.workflows.workers.pool import WorkerPool


class WorkerSession:
    """One connection of a worker; `WorkerPool.connect` makes it.

    Attributes:
        unwanted: of the tasks that the worker holds those that are no longer wanted.
        replaced: is set when the worker has connected again, over another connection.
    """

    def __init__(self, pool: WorkerPool, worker: Worker, link: Link, unwanted: tuple[str, ...]) -> None:
        self.unwanted = unwanted
        self.replaced = link.replaced
        self._pool = pool
        self._worker = worker
        self._link = link

    @property
    def _is_current(self) -> bool:
        return self._worker.link is self._link

    def heard(self) -> None:
        """The worker has said something."""
        if self._is_current:
            self._pool.heard(self._worker)

    async def waiting(self, task_id: str, run_id: str) -> None:
        """A task waits for another run; with an empty id it waits no longer."""
        attempt = self._worker.tasks.get(task_id) if self._is_current else None
        if attempt is None:
            return
        attempt.waits = bool(run_id)
        self._pool.serve(self._worker)
        if run_id and run_id not in attempt.waited_for:
            attempt.waited_for.add(run_id)
            step = attempt.task.step.name
            text = f"step `{step}` waits for run {run_id} on its own queue `{attempt.queue}` and gives its place back"
            await self._report(attempt, attempt.reports.warning(text))

    async def chunk(self, task_id: str, content: str, thinking: str, position: int | None = None) -> bool:
        """Passes on output of a task; drops that of an unwanted one, and what has come before.

        Args:
            task_id: the task.
            content: text to append.
            thinking: thinking to append.
            position: characters that the task has said before; None: the worker does not count them.

        Returns whether it has arrived. It has not when the worker has connected again: it sends it again there.
        """
        if not self._is_current:
            return False
        attempt = self._worker.tasks.get(task_id)
        if attempt is None:
            return True
        attempt.spoke = True
        if position is not None:
            if position < attempt.said:
                return True
            # Before the wait below: meanwhile another connection may bring the same chunk again.
            attempt.said = position + len(content) + len(thinking)
        if not attempt.outcome.done():
            await self._report(attempt, attempt.reports.chunk(content, thinking))
        return True

    def progress(self, task_id: str, progress: str) -> None:
        """Notes how far a task is; nothing of an unwanted one."""
        attempt = self._worker.tasks.get(task_id) if self._is_current else None
        if attempt is not None and not attempt.outcome.done():
            attempt.spoke = True
            if progress != attempt.progress:  # a worker sends it again after a reconnect
                attempt.progress = progress
                attempt.reports.progress(progress)

    async def _report(self, attempt: Attempt, report: Awaitable[None]) -> None:
        """Tells the run something, during which the worker's silence does not count."""
        self._worker.held_up += 1
        try:
            await report
        except Exception as error:  # noqa: BLE001  a fault of this run, raised by `run_task`; other runs use the worker too
            attempt.end(error)
        finally:
            self._worker.held_up -= 1
            self._worker.silent = 0

    def capacity(self, concurrency: int) -> None:
        """The worker takes so many tasks at a time from now on."""
        if self._is_current:
            self._worker.concurrency = concurrency
            self._pool.serve_queue(self._worker.queue)

    async def handed_back(self, task_id: str, back: HandedBack) -> bool:
        """The worker gives a task back, as `result`; the run gets to know the reason, if there is one."""
        attempt = self._worker.tasks.get(task_id) if self._is_current else None
        if attempt is not None and back.reason:
            text = f"a worker of queue `{attempt.queue}` has handed step `{attempt.task.step.name}` back: {back.reason}"
            await self._report(attempt, attempt.reports.warning(text))
        return self.result(task_id, back)

    def result(self, task_id: str, outcome: Outcome | Failure | HandedBack) -> bool:
        """A task has ended; returns whether that counts: False when the worker does not have the task, or no longer."""
        attempt = self._worker.tasks.pop(task_id, None) if self._is_current else None
        if attempt is None:
            return False
        accepted = not attempt.outcome.done()
        attempt.end(outcome if isinstance(outcome, Outcome) else _error(outcome))
        if isinstance(outcome, HandedBack):
            self.capacity(max(self._worker.concurrency - 1, 0))
        else:
            self._pool.serve(self._worker)
        return accepted

    def disconnected(self) -> None:
        """The connection is gone. The worker keeps its tasks for the heartbeat timeout."""
        if self._is_current:
            self._worker.link = None
            self._pool.drop_if_idle(self._worker)
            self._pool.serve_queue(self._worker.queue)


def _error(outcome: Failure | HandedBack) -> Exception:
    if isinstance(outcome, Failure):
        return StepError(outcome)
    if not outcome.begun:
        return NotBegunError()
    return AttemptLostError(Failure(Reason.WORKER_LOST, "its worker stopped and handed it back"))
