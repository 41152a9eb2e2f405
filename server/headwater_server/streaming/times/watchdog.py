"""Notices that a provider is silent, at the cost of two attributes a chunk.

A timer for each chunk would cost more than the chunk. Here one timer runs at a time, set for the moment at which the
limit is reached if nothing comes. When it fires, it reads since when the stream has waited for the provider. Then it
reports the silence, or sets itself again for the rest of the time. A stream that begins or ends waiting sets an
attribute, not a timer, since that happens twice a chunk.

A provider may say that it still works: by a comment, a blank line, an event without content. Such a sign of life begins
the time between two chunks again, but not the time of `max_silence_seconds`. Signs are looked for when the timer fires.

The wait for the first chunk is bounded where the attempts are made, each by itself, and until then the total time alone
counts. The timer is set for the time between two chunks from the start: the first chunk needs no other one then, and
where it fires before, it sets itself again.

Example. `next_chunk_seconds` is 120 and `max_silence_seconds` 600. A chunk comes at 0 s, then a ping every 15 s. At
120 s the timer finds a ping at 120 s and sets itself for 240 s, and so on. At 600 s it reports `max_silence`. Without
pings it reports `next_chunk` at 120 s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.streaming.answerer import Timeouts

_PASSED = {
    "first_chunk": "the provider sent no first chunk within {:g} seconds",
    "next_chunk": "the provider sent no next chunk within {:g} seconds",
    "max_silence": "the provider gave signs of life, but sent no chunk within {:g} seconds",
    "total": "the reply took longer than {:g} seconds",
}


def passed(limit: str, seconds: float) -> HeadwaterError:
    """The error of a stream that has passed a limit: it names the limit and the settings that raise it."""
    request = "" if limit == "max_silence" else f"timeouts.{limit} of the agent, or "
    cure = f"allow more with {request}{limit}_seconds of the server or the provider"
    message = f"{_PASSED[limit].format(seconds)}; {cure}"
    return HeadwaterError(Reason.STREAM_TIMEOUT, message, metadata={"limit": limit})


class Watchdog:
    """Calls `on_timeout` once when the provider was waited for too long.

    Args:
        loop: the one that runs.
        heard: the loop's time of the provider's last sign of life; 0 for none.
        on_timeout: called with the name of the limit that was passed, and the limit in seconds.
        timeouts: the limits, of which the total time counts from now on.

    Attributes:
        since: the loop's time since which the stream has waited for the provider; None while it does not wait, and the
            provider may be silent. The stream sets it.
    """

    __slots__ = ("_due", "_heard", "_loop", "_on_timeout", "_over", "_timeouts", "_timer", "_total", "since")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        heard: Callable[[], float],
        on_timeout: Callable[[str, float], object],
        timeouts: Timeouts,
    ) -> None:
        self._loop = loop
        self._timeouts: Timeouts | None = None
        now, self._total = loop.time(), timeouts.total_seconds
        self._over = now + self._total
        self._heard = heard
        self._on_timeout = on_timeout
        self.since: float | None = None
        self._due = min(now + timeouts.next_chunk_seconds, self._over)
        self._timer: asyncio.TimerHandle | None = loop.call_at(self._due, self._look)

    def begin(self, timeouts: Timeouts) -> None:
        """The first delta has come: the time between two is watched from now on."""
        self._timeouts = timeouts
        due = min(self._loop.time() + timeouts.next_chunk_seconds, self._over)
        if due < self._due:
            self._arm(due)

    def stop(self) -> None:
        """Ends the watch, and releases what it calls."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._on_timeout, self._heard = _ignore, _never

    def _arm(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due = when
        self._timer = self._loop.call_at(when, self._look)

    def _next(self, since: float) -> tuple[float, str, float]:
        """When a wait that began then is over, and the limit that ends it, with its seconds."""
        due = self._over, "total", self._total
        if self._timeouts is None:
            return due
        limit = self._timeouts.next_chunk_seconds
        longest = max(self._timeouts.max_silence_seconds, limit)
        life, silence = max(since, self._heard()) + limit, since + longest
        waited = (silence, "max_silence", longest) if silence < life else (life, "next_chunk", limit)
        return waited if waited[0] < self._over else due

    def _look(self) -> None:
        now = self._loop.time()
        due, limit, seconds = self._next(now if self.since is None else self.since)
        if due > now:
            self._arm(due)
        else:
            self._timer = None
            self._on_timeout(limit, seconds)


def _ignore(_: str, __: float) -> None:
    pass


def _never() -> float:
    return 0.0
