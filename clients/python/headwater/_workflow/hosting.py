"""The workers of one agent: started when a run needs its handlers, shared by the runs of one queue and event loop, and
closed with the last of them.

Everything here runs on the background loop, so nothing needs a lock.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Mapping
from dataclasses import dataclass

from headwater._grpc.server import Server
from headwater._worker.worker import TaskHandler, Worker
from headwater.exceptions import HeadwaterError

CONCURRENCY = 1_000
"""Handlers that an agent runs at a time for the runs of one event loop."""

REGISTER_SECONDS = 30.0


@dataclass(frozen=True)
class ProcessIdentity:
    """Where handlers are hosted: the queue of a run, and the loop on which asynchronous handlers run."""

    server: Server
    queue: str
    loop: asyncio.AbstractEventLoop


@dataclass
class _Hosted:
    worker: Worker
    names: set[str]
    users: int = 0


class Hosts:
    """The workers that are connected now."""

    def __init__(self) -> None:
        self._hosted: dict[ProcessIdentity, _Hosted] = {}

    async def enter(self, place: ProcessIdentity, handlers: Mapping[str, TaskHandler]) -> None:
        """Have a worker there, and wait until the server knows all its handlers.

        To be followed by `leave`, unless it raises.
        """
        hosted = self._hosted.get(place)
        if hosted is None:
            worker = Worker(place.server, place.queue, handlers, CONCURRENCY)
            hosted = self._hosted[place] = _Hosted(worker, set(handlers))
            # Runs of several callers share it: handlers must not see the context variables of the first caller.
            contextvars.Context().run(worker.start)
        elif new := handlers.keys() - hosted.names:
            hosted.names |= new
            hosted.worker.add_handlers({name: handlers[name] for name in new})
        hosted.users += 1
        try:
            await hosted.worker.wait_registered(REGISTER_SECONDS)
        except BaseException:
            await self.leave(place)
            raise

    async def wait_failed(self, place: ProcessIdentity) -> HeadwaterError:
        """Wait until the worker there gives up, and return why. Call it between `enter` and `leave`."""
        return await self._hosted[place].worker.wait_failed()

    async def leave(self, place: ProcessIdentity) -> None:
        """Need the worker no more; the last one closes it."""
        hosted = self._hosted[place]
        hosted.users -= 1
        if not hosted.users:
            del self._hosted[place]
            await hosted.worker.aclose()
