"""Gives tasks to workers: tasks wait here for a free worker, and are watched until they end.

Theory of operation. All of it happens on one event loop, and only `execute` and `chunk` ever wait, so nothing needs a
lock. Waiting tasks stand in a line for each queue and handler. When a worker gets room (it connects, it is heard again,
or one of its tasks ends) it takes the oldest task of the lines whose handler it has. When a task comes, the least
loaded worker with room takes it. So while a task waits, no worker that could do it has room.

A worker is known by its id; a session is one connection of it. A worker that is cut off keeps its tasks, and connects
again. A worker that was not heard for the heartbeat timeout is dead, connected or not: its tasks fail, so that they can
be tried elsewhere. A task has another id in each attempt, and messages of a worker count only for tasks that it holds
now, so late messages of a dead worker change nothing.

Silence is counted in ticks of this loop, not by the clock. When the server itself pauses for long, that is one tick,
and the heartbeats that came in the meantime are read before a worker counts as dead.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import OrderedDict
from collections.abc import Iterable

from headwater_server.domain.workflow import Outcome, StepError
from headwater_server.workflows.workers.tasks import (
    Assign,
    Attempt,
    Cancel,
    Link,
    OnChunk,
    OnStarted,
    OnWaiting,
    Send,
    TaskSpec,
    Worker,
)

__all__ = ["TaskSpec", "WorkerPool", "WorkerSession"]

TICKS = 10
"""Ticks that make up the heartbeat timeout."""

WAITING_GRACE_SECONDS = 0.1
"""A task that finds a worker within this time has not waited: the run need not report and store it."""


class WorkerSession:
    """One connection of a worker; `WorkerPool.connect` makes it.

    Attributes:
        unwanted: the tasks that the worker holds and the server no longer wants.
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
        """Notes that a message of the worker came."""
        if self._is_current:
            self._pool._heard(self._worker)

    async def chunk(self, task_id: str, content: str, thinking: str) -> None:
        """Passes on output of a task, once its run knows that the task has started; drops that of an unwanted one."""
        attempt = self._worker.tasks.get(task_id) if self._is_current else None
        if attempt is None:
            return
        attempt.spoke = True
        self._worker.held_up += 1
        try:
            await attempt.ready.wait()
            if not attempt.outcome.done():
                await attempt.on_chunk(content, thinking)
        except Exception as error:  # noqa: BLE001  a fault of this run, raised by its `execute`; others use the worker too
            attempt.end(error)
        finally:
            self._worker.held_up -= 1
            self._worker.silent = 0

    def result(self, task_id: str, outcome: Outcome | StepError) -> bool:
        """Ends a task. Returns whether that counts: False when the task is not, or no longer, this worker's."""
        attempt = self._worker.tasks.pop(task_id, None) if self._is_current else None
        if attempt is None:
            return False
        accepted = not attempt.outcome.done()
        attempt.end(outcome)
        self._pool._serve(self._worker)
        return accepted

    def disconnected(self) -> None:
        """Notes that the connection is gone. The worker keeps its tasks for the heartbeat timeout."""
        if self._is_current:
            self._worker.link = None
            self._pool._drop_if_idle(self._worker)


class WorkerPool:
    """All workers, and the tasks that wait for one. `close` it at the end.

    Args:
        heartbeat_timeout_seconds: how long a worker may be silent.
    """

    def __init__(self, heartbeat_timeout_seconds: float) -> None:
        self.heartbeat_timeout_seconds = heartbeat_timeout_seconds
        self._workers: dict[str, Worker] = {}
        self._queues: dict[str, dict[str, Worker]] = {}
        self._lines: dict[str, dict[str, OrderedDict[int, Attempt]]] = {}  # by queue, then handler
        self._numbers = itertools.count(1)
        self._ticking: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """Stops watching over the workers."""
        if self._ticking is not None:
            self._ticking.cancel()
            self._ticking = None

    def connect(
        self,
        worker_id: str,
        queue: str,
        handlers: Iterable[str],
        concurrency: int,
        held_task_ids: Iterable[str],
        send: Send,
    ) -> WorkerSession:
        """Connects a worker, for the first time or again. It may get tasks, through `send`, before this returns.

        It keeps the earlier tasks that it still holds. An earlier task that it does not know never reached it and is
        sent again. If that task already had output, the worker has lost it, and the attempt fails.
        """
        worker = self._workers.get(worker_id)
        if worker is None:
            worker = self._workers[worker_id] = Worker(worker_id)
        elif worker.link is not None:
            worker.link.replaced.set()
        self._leave_queue(worker)
        worker.queue, worker.handlers, worker.concurrency = queue, frozenset(handlers), concurrency
        self._queues.setdefault(queue, {})[worker_id] = worker
        link = worker.link = Link(send)
        worker.silent, worker.dead = 0, False
        held = set(held_task_ids)
        unwanted = tuple(sorted(held - worker.tasks.keys()))
        for task_id, attempt in list(worker.tasks.items()):
            if task_id not in held:
                _repeat(worker, attempt)
        self._serve(worker)
        if self._ticking is None:
            self._tick_later()
        return WorkerSession(self, worker, link, unwanted)

    def handlers(self, queue: str) -> frozenset[str]:
        """The names that workers of the queue have, which are connected now."""
        return frozenset().union(*(worker.handlers for worker in self._queues.get(queue, {}).values()))

    async def execute(
        self,
        task: TaskSpec,
        queue: str,
        *,
        schedule_timeout_seconds: float,
        timeout_seconds: float | None,
        on_waiting: OnWaiting,
        on_started: OnStarted,
        on_chunk: OnChunk,
    ) -> Outcome:
        """Lets a worker of the queue do a task, and returns its outcome.

        Cancelling this cancels the task: its worker gets a message, and its answer is not waited for.

        Args:
            task: the task.
            queue: the queue whose workers may do it.
            schedule_timeout_seconds: how long it may wait for a worker.
            timeout_seconds: how long it may take, from the moment a worker has it; None: without limit.
            on_waiting: called once, when no worker is free for it.
            on_started: called when one has taken it after `on_waiting`.
            on_chunk: called with each piece of its output, never before those two.

        Raises StepError: it failed, no worker came, the worker vanished, or it took too long.
        """
        attempt = Attempt(next(self._numbers), task, queue, on_chunk)
        try:
            self._submit(attempt)
            if not await _within(attempt.assigned, min(WAITING_GRACE_SECONDS, schedule_timeout_seconds)):
                await on_waiting(queue)
                if not await _within(attempt.assigned, schedule_timeout_seconds):
                    raise StepError(
                        f"no worker of the queue `{queue}` took it within {schedule_timeout_seconds:g} s: "
                        f"start one that has the handler `{task.step.handler}`",
                        retryable=False,
                    )
                await on_started()
            attempt.ready.set()
            if not await _within(attempt.outcome, timeout_seconds):
                raise StepError(f"it took longer than {timeout_seconds:g} s", retryable=True)
            return attempt.outcome.result()
        finally:
            attempt.ready.set()
            self._withdraw(attempt)

    def _submit(self, attempt: Attempt) -> None:
        free = [
            worker
            for worker in self._queues.get(attempt.queue, {}).values()
            if worker.has_room and attempt.handler in worker.handlers
        ]
        if free:
            self._assign(min(free, key=lambda worker: worker.load), attempt)
        else:
            lines = self._lines.setdefault(attempt.queue, {})
            lines.setdefault(attempt.handler, OrderedDict())[attempt.number] = attempt

    def _withdraw(self, attempt: Attempt) -> None:
        """Gives the attempt up, if it has no outcome."""
        self._leave_line(attempt)
        attempt.outcome.cancel()
        worker = attempt.worker
        if worker is not None and worker.tasks.pop(attempt.id, None) is not None:
            worker.tell(Cancel(attempt.id))
            self._serve(worker)
            self._drop_if_idle(worker)

    def _leave_line(self, attempt: Attempt) -> None:
        lines = self._lines.get(attempt.queue, {})
        line = lines.get(attempt.handler)
        if line is not None and line.pop(attempt.number, None) is not None and not line:
            del lines[attempt.handler]
            if not lines:
                del self._lines[attempt.queue]

    def _assign(self, worker: Worker, attempt: Attempt) -> None:
        attempt.worker = worker
        worker.tasks[attempt.id] = attempt
        worker.served = next(self._numbers)
        attempt.assigned.set_result(None)
        worker.tell(Assign(attempt.id, attempt.task))

    def _serve(self, worker: Worker) -> None:
        """Gives a worker the tasks that wait for it, oldest first, as far as it has room."""
        while worker.has_room:
            lines = self._lines.get(worker.queue, {})
            oldest = min((next(iter(line)) for name, line in lines.items() if name in worker.handlers), default=None)
            if oldest is None:
                return
            attempt = next(line[oldest] for line in lines.values() if oldest in line)
            self._leave_line(attempt)
            self._assign(worker, attempt)

    def _heard(self, worker: Worker) -> None:
        worker.silent = 0
        if worker.dead:
            worker.dead = False
            self._serve(worker)

    def _tick_later(self) -> None:
        self._ticking = asyncio.get_running_loop().call_later(self.heartbeat_timeout_seconds / TICKS, self._tick)

    def _tick(self) -> None:
        for worker in list(self._workers.values()):
            worker.silent = 0 if worker.held_up else worker.silent + 1
            if worker.silent > TICKS and not worker.dead:
                self._bury(worker)
        self._ticking = None
        if self._workers:
            self._tick_later()

    def _bury(self, worker: Worker) -> None:
        worker.dead = True
        lost, worker.tasks = worker.tasks, {}
        for attempt in lost.values():
            worker.tell(Cancel(attempt.id))
            attempt.end(
                StepError(
                    f"its worker vanished: nothing was heard of it for {self.heartbeat_timeout_seconds:g} s",
                    retryable=True,
                )
            )
        self._drop_if_idle(worker)

    def _drop_if_idle(self, worker: Worker) -> None:
        """Forgets a worker that is not connected and has no task."""
        if worker.link is None and not worker.tasks and self._workers.get(worker.id) is worker:
            del self._workers[worker.id]
            self._leave_queue(worker)

    def _leave_queue(self, worker: Worker) -> None:
        workers = self._queues.get(worker.queue, {})
        if workers.pop(worker.id, None) is not None and not workers:
            del self._queues[worker.queue]


def _repeat(worker: Worker, attempt: Attempt) -> None:
    """Sends a task again that its worker does not know after a reconnect; fails it when the worker has lost it."""
    if attempt.spoke:
        del worker.tasks[attempt.id]
        attempt.end(StepError("its worker has lost it: it started again under the same id", retryable=True))
    else:
        worker.tell(Assign(attempt.id, attempt.task))


async def _within(future: asyncio.Future[None] | asyncio.Future[Outcome], seconds: float | None) -> bool:
    """Waits for a future. Returns whether it was done in time."""
    if not future.done():
        await asyncio.wait([future], timeout=seconds)
    return future.done()
