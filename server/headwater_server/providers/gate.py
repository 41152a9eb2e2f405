"""How many calls may go through at once, and how many calls and tokens a minute.

Theory of operation. Each limit of a minute is a bucket: it holds a minute's worth at most and is filled evenly. A call
takes 1 of the calls and its estimate of tokens; when it leaves, the estimate is put right, and the bucket may then owe
tokens that later calls wait for. A call that finds a limit reached is refused at once, or waits for `max_wait_seconds`
in one line, so that none is overtaken; a wait that is known to be longer is not begun. The refusal says when there will
be room.

Known limiters for asyncio can be waited for, but do not say how long the wait will be, and take nothing back.

Example. 60 calls a minute, no wait. 60 calls at once go through, and the 61st is refused: in 1 s there is room for one.
Half a minute later 30 more go through at once.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from headwater_server.domain.errors import overloaded

RETRY_SECONDS = 1.0
"""When a call may come again that found too many others running: none of them says when it ends."""


@dataclass(frozen=True, slots=True)
class GateLimits:
    """The limits of a gate; None: no such limit.

    Attributes:
        max_concurrent: calls at once.
        requests_per_minute: calls that begin in a minute.
        tokens_per_minute: tokens of their prompts and replies.
        max_wait_seconds: how long a call may wait for room.
    """

    max_concurrent: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_wait_seconds: float = 0.0


class Gate:
    """Lets calls through within its limits, on one event loop.

    Args:
        name: names the limits in errors, as the setting does: `providers.openai`.
        limits: the limits.
    """

    def __init__(self, name: str, limits: GateLimits) -> None:
        self.limits = limits
        self._name = name
        self._running = 0
        self._requests = _Bucket(limits.requests_per_minute) if limits.requests_per_minute else None
        self._tokens = _Bucket(limits.tokens_per_minute) if limits.tokens_per_minute else None
        self._line = asyncio.Lock()
        self._left = asyncio.Event()

    async def enter(self, tokens: int = 0) -> None:
        """Begins a call of about so many tokens; `leave` ends it. Raises HeadwaterError (SERVER_OVERLOADED)."""
        full = self._full(tokens)
        if full is None and not self._line.locked():
            self._take(tokens)
            return
        longest = self.limits.max_wait_seconds
        if longest and (full is None or full[0] == "max_concurrent" or full[1] <= longest):
            with suppress(TimeoutError):
                async with asyncio.timeout(longest), self._line:
                    while (full := self._full(tokens)) is not None:
                        await self._wait(full[1])
                    self._take(tokens)
                    return
        limit, seconds = self._full(tokens) or ("max_wait_seconds", RETRY_SECONDS)
        text = f"{self._name}.{limit} is reached ({getattr(self.limits, limit):g}); try again later, or raise it"
        raise overloaded(text, seconds, limit=limit)

    def leave(self, more_tokens: int = 0) -> None:
        """Ends a call, which took so many tokens more than its estimate."""
        self._running -= 1
        self._left.set()
        if self._tokens is not None:
            self._tokens.take(more_tokens)

    def _full(self, tokens: int) -> tuple[str, float] | None:
        """The limit that keeps a call out, and for how many seconds about; None for none."""
        limits = self.limits
        if limits.max_concurrent is not None and self._running >= limits.max_concurrent:
            return "max_concurrent", RETRY_SECONDS
        if self._requests is not None and (seconds := self._requests.seconds_until(1)):
            return "requests_per_minute", seconds
        if self._tokens is not None and (seconds := self._tokens.seconds_until(tokens)):
            return "tokens_per_minute", seconds
        return None

    def _take(self, tokens: int) -> None:
        self._running += 1
        if self._requests is not None:
            self._requests.take(1)
        if self._tokens is not None:
            self._tokens.take(tokens)

    async def _wait(self, seconds: float) -> None:
        """Waits so long, or until a call has left."""
        self._left.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._left.wait()


class _Bucket:
    """Holds a minute's worth at most, and is filled evenly."""

    def __init__(self, per_minute: int) -> None:
        self._most = self._level = float(per_minute)
        self._per_second = per_minute / 60
        self._filled: float | None = None

    def seconds_until(self, amount: float) -> float:
        """How long until so much is there, 0 for now; of more than it can hold, until it is full."""
        now = asyncio.get_running_loop().time()
        if self._filled is not None:
            self._level = min(self._most, self._level + (now - self._filled) * self._per_second)
        self._filled = now
        return max(min(amount, self._most) - self._level, 0.0) / self._per_second

    def take(self, amount: float) -> None:
        """Takes so much, also more than there is."""
        self._level -= amount
