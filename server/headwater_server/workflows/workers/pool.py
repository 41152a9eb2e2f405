"""Gives tasks to workers: tasks wait here for a free worker, and are watched until they end.

Theory of operation. All of it happens on one event loop, and only `run_task` and `chunk` ever wait, so nothing needs a
lock. Waiting tasks stand in a line for each queue and handler. When a worker gets room (it connects, it is heard again,
or one of its tasks ends) it takes tasks of the lines whose handlers it has, in turns of runs. When a task comes, the
least loaded worker with room takes it. One run gets no more than its share (`shares`). So while a task waits, no worker
that could do it has room, except room that is kept for runs that hold none.

A worker gets a task only after the journal says that the attempt runs. So an attempt that the journal shows as waiting
has surely not run, and can start over after a crash even where a step is at most once.

A worker is known by its id; a session is one connection of it. A worker that is cut off keeps its tasks, and connects
again. It keeps a task from before a restart of the server too, for which the run waits as long. A worker that was not
heard for the heartbeat timeout is dead, connected or not: its tasks fail, so that they can be tried elsewhere. A task
has another id in each attempt, and messages of a worker count only for tasks that it holds now, so late messages of a
dead worker change nothing.

Silence is counted in ticks of this loop, not by the clock. When the server itself pauses for long, that is one tick,
and the heartbeats that came in the meantime are read before a worker counts as dead.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable
from functools import partial

from headwater_server.domain.errors import Reason, overloaded
from headwater_server.domain.failure import AttemptLostError, Failure, StepError, final_step_error
from headwater_server.domain.workflow import Outcome
from headwater_server.workflows.workers.session import WorkerSession
from headwater_server.workflows.workers.shares import may_give
from headwater_server.workflows.workers.tasks import (
    Attempt,
    Cancel,
    Link,
    NotBegunError,
    OnStarted,
    OnWaiting,
    Reports,
    Send,
    TaskSpec,
    Worker,
)
from headwater_server.workflows.workers.waiting import WaitingTasks

TICKS = 10
"""Ticks that make up the heartbeat timeout."""

MAX_WORKERS = 10_000
MAX_NAMES_SIZE = 32 * 2**20
RETRY_AFTER_SECONDS = 5.0

WAITING_GRACE_SECONDS = 0.1
"""A task that finds a worker within this time has not waited: the run need not report and store it."""


class WorkerPool:
    """All workers, and the tasks that wait for one. `close` it at the end.

    Args:
        heartbeat_timeout_seconds: how long a worker may be silent.
        max_workers: how many there may be.
    """

    def __init__(self, heartbeat_timeout_seconds: float, max_workers: int = MAX_WORKERS) -> None:
        self._max_workers = max_workers
        self.heartbeat_timeout_seconds = heartbeat_timeout_seconds
        self._workers: dict[str, Worker] = {}
        self._queues: dict[str, dict[str, Worker]] = {}
        self._waiting = WaitingTasks()
        self._expected: dict[str, Attempt] = {}  # of the process before this one, by id
        self._names_size = 0
        self._draining = False
        self._numbers = itertools.count(1)
        self._ticking: asyncio.TimerHandle | None = None

    def drain(self) -> None:
        """Cancels no task of a worker from now on: the next process of the server expects it."""
        self._draining = True

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

        Of the tasks that it had before, it keeps those that it still holds. One that it does not know has most likely
        never reached it, and is sent again. When it had output already, the worker has lost it, and the attempt fails;
        so does one that was sent and is at most once.

        Raises HeadwaterError (SERVER_OVERLOADED) when the workers, or the names of handlers, would pass their bound.
        """
        names = frozenset(handlers)
        worker = self._workers.get(worker_id)
        if worker is None and len(self._workers) >= self._max_workers:
            text = f"{self._max_workers} workers are attached, as many as max_workers allows; attach again later"
            raise overloaded(text, RETRY_AFTER_SECONDS, limit="max_workers")
        self._count_names(worker.names_size if worker else 0, names_size := sum(map(len, names)))
        if worker is None:
            worker = self._workers[worker_id] = Worker(worker_id)
        elif worker.link is not None:
            worker.link.replaced.set()
        self._leave_queue(worker)
        worker.queue, worker.handlers, worker.concurrency = queue, self._shared(queue, names), concurrency
        worker.names_size = names_size
        self._queues.setdefault(queue, {})[worker_id] = worker
        link = worker.link = Link(send)
        worker.silent, worker.dead = 0, False
        held = set(held_task_ids)
        for task_id in sorted(held & self._expected.keys()):
            self._rejoin(worker, self._expected[task_id])
        unwanted = tuple(sorted(held - worker.tasks.keys()))
        for task_id, attempt in list(worker.tasks.items()):
            if task_id not in held:
                _repeat(worker, attempt)
        self.serve(worker)
        if self._ticking is None:
            self._tick_later()
        return WorkerSession(self, worker, link, unwanted)

    def _shared(self, queue: str, names: frozenset[str]) -> frozenset[str]:
        """The set of a worker of the queue that has the same handlers, else this one; see `shares`."""
        known = (worker.handlers for worker in self._queues.get(queue, {}).values())
        return next((handlers for handlers in known if handlers == names), names)

    def _count_names(self, before: int, after: int) -> None:
        if self._names_size - before + after > MAX_NAMES_SIZE:
            raise overloaded(
                f"the names of all attached handlers have {MAX_NAMES_SIZE // 2**20} MiB, as many as are kept; "
                "attach again later, or with fewer or shorter names",
                RETRY_AFTER_SECONDS,
            )
        self._names_size += after - before

    def attached(self) -> dict[str, int]:
        """How many workers each queue has; also for other threads."""
        return {queue: len(workers) for queue, workers in list(self._queues.items())}

    def running(self) -> dict[str, int]:
        """How many tasks the workers of each queue have; also for other threads."""
        return {
            queue: sum(len(worker.tasks) for worker in list(workers.values()))
            for queue, workers in list(self._queues.items())
        }

    def waiting(self) -> dict[str, int]:
        """How many tasks of each queue wait for a worker; also for other threads."""
        return self._waiting.counts()

    def handlers(self, queue: str) -> frozenset[str]:
        """The names that the connected workers of the queue have."""
        return frozenset().union(*(worker.handlers for worker in self._queues.get(queue, {}).values()))

    async def run_task(
        self,
        task: TaskSpec,
        queue: str,
        *,
        schedule_timeout_seconds: float,
        timeout_seconds: float | None,
        on_waiting: OnWaiting,
        on_started: OnStarted,
        reports: Reports,
    ) -> Outcome:
        """Lets a worker of the queue do a task, and returns its outcome.

        Cancelling this cancels the task: its worker gets a message, and its answer is not waited for.

        Args:
            task: the task.
            queue: the queue whose workers may do it.
            schedule_timeout_seconds: how long it may wait for a worker.
            timeout_seconds: how long it may take, from the moment a worker has it; None: without limit.
            on_waiting: called when no worker is free for it; again when a worker has handed it back.
            on_started: called when one has taken it after `on_waiting`.
            reports: get what it says, never before those two.

        Raises StepError: it failed, no worker came, the worker was lost, or it took too long.
        """
        while True:
            attempt = Attempt(next(self._numbers), task, queue, reports)
            try:
                await self._schedule(attempt, schedule_timeout_seconds, on_waiting, on_started)
                if not await _within(attempt.outcome, timeout_seconds):
                    raise _took_too_long(timeout_seconds)
                return attempt.outcome.result()
            except NotBegunError:
                continue
            finally:
                self._withdraw(attempt)

    def expect(self, task: TaskSpec, queue: str, reports: Reports) -> Attempt:
        """An attempt that a worker may still have from before this process began. `rejoin` waits for it."""
        attempt = Attempt(next(self._numbers), task, queue, reports)
        attempt.was_sent = attempt.spoke = True
        self._expected[attempt.id] = attempt
        later = asyncio.get_running_loop().call_later
        later(self.heartbeat_timeout_seconds, self._expected.pop, attempt.id, None)
        return attempt

    async def rejoin(self, attempt: Attempt, timeout_seconds: float | None) -> Outcome:
        """Waits for the worker of an expected attempt, and returns the attempt's outcome.

        Raises StepError: it failed, took too long, or its worker did not come back within the heartbeat timeout.
        Raises NotBegunError: its worker had not begun it and has handed it back.
        """
        try:
            if not await _within(attempt.assigned, self.heartbeat_timeout_seconds):
                raise AttemptLostError(Failure(Reason.WORKER_LOST, "the server stopped, and its worker did not return"))
            if not await _within(attempt.outcome, timeout_seconds):
                raise _took_too_long(timeout_seconds)
            return attempt.outcome.result()
        finally:
            self._expected.pop(attempt.id, None)
            self._withdraw(attempt)

    def _rejoin(self, worker: Worker, attempt: Attempt) -> None:
        """A worker has an expected attempt, as its registration says."""
        if attempt.queue == worker.queue:
            del self._expected[attempt.id]
            attempt.worker = worker
            worker.tasks[attempt.id] = attempt
            attempt.assigned.set_result(None)

    async def _schedule(self, attempt: Attempt, seconds: float, on_waiting: OnWaiting, on_started: OnStarted) -> None:
        """Waits until a worker has the attempt. Raises StepError when none takes it in time."""
        self._submit(attempt)
        if await _within(attempt.assigned, min(WAITING_GRACE_SECONDS, seconds)):
            return
        attempt.held_back = True
        await on_waiting(attempt.queue)
        if not await _within(attempt.assigned, seconds):
            raise final_step_error(
                f"no worker of the queue `{attempt.queue}` took it within {seconds:g} s: "
                f"start one that has the handler `{attempt.handler}`",
                Reason.STEP_TIMEOUT,
            )
        await on_started()
        attempt.held_back = False
        attempt.send()

    def _submit(self, attempt: Attempt) -> None:
        free = [
            worker
            for worker in self._queues.get(attempt.queue, {}).values()
            if worker.has_room and attempt.handler in worker.handlers and self._may_give(worker, attempt)
        ]
        if free:
            self._assign(min(free, key=lambda worker: worker.load), attempt)
        else:
            self._waiting.add(attempt)

    def _withdraw(self, attempt: Attempt) -> None:
        """Gives the attempt up, if it has no outcome."""
        self._waiting.discard(attempt)
        attempt.outcome.cancel()
        worker = attempt.worker
        if worker is not None and worker.tasks.pop(attempt.id, None) is not None:
            if not self._draining:
                worker.send(Cancel(attempt.id))
            self.serve(worker)
            self.drop_if_idle(worker)

    def _assign(self, worker: Worker, attempt: Attempt) -> None:
        attempt.worker = worker
        worker.tasks[attempt.id] = attempt
        worker.served = next(self._numbers)
        attempt.assigned.set_result(None)
        attempt.send()

    def serve(self, worker: Worker) -> None:
        """Gives a worker the tasks that wait for it, in turns of runs, as far as it has room. For its session."""
        while worker.has_room:
            attempt = self._waiting.pop(worker.queue, worker.handlers, partial(self._may_give, worker))
            if attempt is None:
                return
            self._assign(worker, attempt)

    def serve_queue(self, queue: str) -> None:
        """Serves all workers of a queue, whose places have become fewer: so fewer are kept. For a session."""
        for worker in list(self._queues.get(queue, {}).values()):
            self.serve(worker)

    def _may_give(self, worker: Worker, attempt: Attempt) -> bool:
        return may_give(worker, attempt.task.run_id, self._queues[worker.queue].values())

    def heard(self, worker: Worker) -> None:
        """The worker has said something. For its session."""
        worker.silent = 0
        if worker.dead:
            worker.dead = False
            self.serve(worker)

    def _tick_later(self) -> None:
        self._ticking = asyncio.get_running_loop().call_later(self.heartbeat_timeout_seconds / TICKS, self._tick)

    def _tick(self) -> None:
        self._tick_later()  # first, so that whatever goes wrong below, silence is still noticed
        for worker in list(self._workers.values()):
            worker.silent = 0 if worker.held_up else worker.silent + 1
            if worker.silent > TICKS and not worker.dead:
                self._bury(worker)
        if not self._workers:
            self.close()

    def _bury(self, worker: Worker) -> None:
        worker.dead = True
        lost, worker.tasks = worker.tasks, {}
        for attempt in lost.values():
            attempt.end(_lost(f"its worker was lost: it sent nothing for {self.heartbeat_timeout_seconds:g} s"))
            worker.send(Cancel(attempt.id))
        self.drop_if_idle(worker)
        self.serve_queue(worker.queue)

    def drop_if_idle(self, worker: Worker) -> None:
        """Forgets a worker that is not connected and has no task. For its session."""
        if worker.link is None and not worker.tasks and self._workers.get(worker.id) is worker:
            del self._workers[worker.id]
            self._names_size -= worker.names_size
            self._leave_queue(worker)

    def _leave_queue(self, worker: Worker) -> None:
        workers = self._queues.get(worker.queue, {})
        if workers.pop(worker.id, None) is None:
            return
        if not workers:
            del self._queues[worker.queue]
        self.serve_queue(worker.queue)


def _repeat(worker: Worker, attempt: Attempt) -> None:
    """Sends a task again that its worker does not know after a reconnect; fails it when the worker has lost it."""
    if attempt.spoke or (attempt.was_sent and attempt.task.step.retry_policy.is_at_most_once):
        del worker.tasks[attempt.id]
        attempt.end(_lost("its worker no longer knows it: it was started again under the same id, or never got it"))
    else:
        attempt.send()


def _took_too_long(seconds: float | None) -> StepError:
    return StepError(Failure(Reason.STEP_TIMEOUT, f"it took longer than {seconds:g} s"))


def _lost(message: str) -> StepError:
    return StepError(Failure(Reason.WORKER_LOST, message))


async def _within(future: asyncio.Future[None] | asyncio.Future[Outcome], seconds: float | None) -> bool:
    """Waits for a future. Returns whether it was done in time."""
    if not future.done():
        await asyncio.wait([future], timeout=seconds)
    return future.done()
