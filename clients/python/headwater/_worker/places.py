"""The place that a handler takes in its worker, and gives back while it waits for a run on the same queue.

Every wait for a run goes through `RunWatch` or `WorkflowRunHandle.result`, and both do this. Without that a worker that
does one step at a time would wait for ever: the steps of that run need the place.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import threading
from collections.abc import AsyncIterator, Callable, Collection, Iterator

from headwater.v1 import worker_service_pb2

log = logging.getLogger("headwater.worker")


class Place:
    """The place of one attempt; from any thread.

    Args:
        queue: the queue of its worker.
        step: its step.
        run_id: its run.
        wait_for: tells the worker the run that it waits for; empty: it waits no longer.
    """

    def __init__(self, queue: str, step: str, run_id: str, wait_for: Callable[[str], None]) -> None:
        self.queue = queue
        self._step = step
        self._run_id = run_id
        self._wait_for = wait_for
        self._lock = threading.Lock()
        self._waits = 0
        self._named: set[str] = set()

    def give_back(self, run_id: str) -> None:
        """The attempt waits for a run now, perhaps for others too."""
        with self._lock:
            self._waits += 1
            if self._waits > 1 and run_id in self._named:
                return
            is_new = run_id not in self._named
            self._named.add(run_id)
            self._wait_for(run_id)
        if is_new:
            log.warning(
                "step %r of run %s waits for run %s on its own queue %r, and gives its place back meanwhile",
                *(self._step, self._run_id, run_id, self.queue),
            )

    def end(self) -> None:
        """One of its waits has ended."""
        with self._lock:
            self._waits -= 1
            if not self._waits:
                self._wait_for("")


current: contextvars.ContextVar[Place | None] = contextvars.ContextVar("headwater_place", default=None)
"""The place of the handler that runs in this context."""


class Places:
    """The places of a worker, on its loop: as many as the tasks that it may do at a time."""

    def __init__(self, queue: str, concurrency: int) -> None:
        self._queue = queue
        self._free = asyncio.Semaphore(concurrency)

    @contextlib.asynccontextmanager
    async def take(self, task: worker_service_pb2.WorkerTask, wait_for: Callable[[str], None]) -> AsyncIterator[None]:
        """Waits for a place, and takes it. A task that has given it back once runs without one from then on.

        Args:
            task: runs in the block.
            wait_for: is called on this loop with the run that the task waits for; empty: it waits no longer.
        """
        await self._free.acquire()
        loop, has_place = asyncio.get_running_loop(), True

        def changed(run_id: str) -> None:
            nonlocal has_place
            if run_id and has_place:
                has_place = False
                self._free.release()
            wait_for(run_id)

        def change(run_id: str) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: so is the worker
                loop.call_soon_threadsafe(changed, run_id)

        current.set(Place(self._queue, task.step.name, task.run_id, change))
        try:
            yield
        finally:
            if has_place:
                self._free.release()


def give_back(run_id: str, queues: Collection[str]) -> Callable[[], None]:
    """Gives the place of this handler back, when a run that it waits for has steps on its queue.

    Returns the function that ends the wait; more than one call of it, from any thread, does no harm.
    """
    place = current.get()
    if place is None or place.queue not in queues:
        return lambda: None
    place.give_back(run_id)
    left = [place]

    def end() -> None:
        with contextlib.suppress(IndexError):
            left.pop().end()

    return end


@contextlib.contextmanager
def given_back(run_id: str, queues: Collection[str]) -> Iterator[None]:
    """As `give_back`, for the time of a block."""
    end = give_back(run_id, queues)
    try:
        yield
    finally:
        end()
