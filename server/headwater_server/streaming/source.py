"""The two sides of a reply under way: a source that hands events over as they come, and their receiver.

A source is read until it has given its first events, since a task waits for those anyhow. Then it is followed: it
hands over what comes in the callback in which it comes, until it has said how the reply ended. A source stops by itself
when its receiver lacks room: `arrived` answers whether all events were taken, and `resume` says that they were later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from headwater_server.domain.chunks import ProviderEvent


class Receiver(Protocol):
    """Gets the events of a reply, within the event loop's callbacks: its methods must not raise."""

    def arrived(self, events: Sequence[ProviderEvent]) -> bool:
        """The next events, those that came together.

        Whether they are taken, and all before them. If not, the source hands over little more until `resume`.
        """
        ...

    def ended(self, error: Exception | None) -> None:
        """Nothing more comes: the reply is at its end, or failed."""
        ...


class Source(Protocol):
    """A reply under way. The first `read` starts the work; `aclose` ends it and frees its connection.

    A source may have a method `start`, without arguments, that starts the work as far as that needs no wait. The task
    that calls it must be the one that reads. A fault is raised by `read`.
    """

    @property
    def request_id(self) -> str:
        """The provider's id of the request; empty until its headers have come, or where it gives none."""
        ...

    @property
    def heard(self) -> float:
        """The loop's time at which the provider last sent something that is no event, such as a ping; 0 for never."""
        ...

    async def read(self) -> Sequence[ProviderEvent]:
        """The next events, those that came together; empty at the end of the reply. Raises HeadwaterError.

        A later read that is cancelled loses nothing: another task reads on.
        """
        ...

    def follow(self, receiver: Receiver) -> None:
        """Hands everything to the receiver from now on; not before the first `read` has given events."""
        ...

    def resume(self) -> None:
        """The receiver has taken all that came."""
        ...

    async def aclose(self) -> None:
        """Ends the reply and frees its connection."""
        ...


class ReadSource:
    """A source whose events a task reads: a reply that comes from no socket. The events of one read may wait."""

    _following: asyncio.Task[None] | None = None
    _wanted: asyncio.Event

    async def read(self) -> Sequence[ProviderEvent]:
        """See Source."""
        raise NotImplementedError

    def follow(self, receiver: Receiver) -> None:
        """See Source."""
        self._wanted = asyncio.Event()
        self._following = asyncio.create_task(self._pass_on(receiver), name="headwater reply")

    def resume(self) -> None:
        """See Source."""
        self._wanted.set()

    async def aclose(self) -> None:
        """See Source."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait([self._following])

    async def _pass_on(self, receiver: Receiver) -> None:
        try:
            while True:
                await self._wanted.wait()
                if not (events := await self.read()):
                    break
                if not receiver.arrived(events):
                    self._wanted.clear()
        except Exception as error:  # noqa: BLE001  the receiver raises it
            receiver.ended(error)
        else:
            receiver.ended(None)
