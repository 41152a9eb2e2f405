"""Work that many ask for and that is done once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from headwater_server.domain.errors import HeadwaterError

T = TypeVar("T")


@dataclass(slots=True)
class _Flight(Generic[T]):
    task: asyncio.Task[T]
    waiting: int = 0


class SingleFlight(Generic[T]):
    """Does a piece of work on request. Requests that come while it runs wait for the same outcome.

    The work is cancelled when the last waiting caller has left.
    """

    def __init__(self, work: Callable[[], Awaitable[T]]) -> None:
        self._work = work
        self._flight: _Flight[T] | None = None

    async def __call__(self) -> T:
        """The outcome. Raises the work's error; a HeadwaterError is copied for each caller, since callers add facts."""
        flight = self._flight
        if flight is None or flight.task.done():
            flight = self._flight = _Flight(asyncio.ensure_future(self._run()))
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        except HeadwaterError as error:
            raise HeadwaterError(error.reason, error.message) from error
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                self._flight = None
                flight.task.cancel()
                await asyncio.wait([flight.task])

    async def _run(self) -> T:
        return await self._work()
