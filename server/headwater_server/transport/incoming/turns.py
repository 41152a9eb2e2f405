"""Whether calls have waited too long for their turn.

gRPC takes calls in their order and says of none when it came. But while something holds the event loop no call is
taken, and those that are taken just after it have waited for so long. They end with SERVER_OVERLOADED: their callers
can go to another server. gRPC's limit for this wait would end them with a bare CANCELLED, and is switched off.
"""

from __future__ import annotations

import asyncio

from headwater_server.domain.errors import overloaded

LONGEST_SECONDS = 30.0
EVERY_SECONDS = 1.0
AFTER_SECONDS = 1.0
"""How long after the loop was held calls are taken for late ones."""


class Turns:
    """Watches the event loop from `start` to `stop`."""

    def __init__(self) -> None:
        self._late_until = 0.0
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begins to watch the loop that runs."""
        loop = asyncio.get_running_loop()
        self._due = loop.time() + EVERY_SECONDS
        self._timer = loop.call_at(self._due, self._look)

    def stop(self) -> None:
        """Ends that."""
        if self._timer is not None:
            self._timer.cancel()

    def check(self) -> None:
        """Raises HeadwaterError (SERVER_OVERLOADED) for a call that has waited too long."""
        if self._late_until and asyncio.get_running_loop().time() < self._late_until:
            raise overloaded(f"the call waited more than {LONGEST_SECONDS:g} s for its turn; try again")

    def _look(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._due > LONGEST_SECONDS:
            self._late_until = now + AFTER_SECONDS
        self.start()
