"""The place that a handler takes in its worker, and gives back while it waits for a run on the same queue.

Without that a worker that does one step at a time would wait for ever: the steps of that run need the place.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from dataclasses import dataclass

from headwater.v1 import worker_service_pb2

log = logging.getLogger("headwater.worker")


@dataclass(frozen=True, slots=True)
class Place:
    """The place of one attempt. `wait_for` tells the worker the run that it waits for; empty: it waits no longer."""

    queue: str
    step: str
    run_id: str
    wait_for: Callable[[str], None]


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
            loop.call_soon_threadsafe(changed, run_id)

        current.set(Place(self._queue, task.step.name, task.run_id, change))
        try:
            yield
        finally:
            if has_place:
                self._free.release()


@contextlib.contextmanager
def given_back(run_id: str, queues: Collection[str]) -> Iterator[None]:
    """Gives the place of this handler back while the block waits for a run with steps on these queues."""
    place = current.get()
    if place is None or place.queue not in queues:
        yield
        return
    log.warning(
        "step %r of run %s waits for run %s on its own queue %r, and gives its place back meanwhile",
        *(place.step, place.run_id, run_id, place.queue),
    )
    place.wait_for(run_id)
    try:
        yield
    finally:
        place.wait_for("")
