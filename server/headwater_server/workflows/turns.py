"""Shares places fairly among those that want them, such as the runs whose prompts are answered.

Theory of operation. Each holder has a key. Those that wait stand in a line for each key, and the keys take turns: a
key that has got a place stands behind all others. So a key with a thousand that wait holds up no other for more than a
turn.

Turns alone do not help while holders hang. So some places are kept for keys that hold none: one that holds a place
already gets another only while more than those are free. Of 256 places 32 are kept, of eight one, and of fewer none:
a worker with two places runs two steps of one run.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

KEPT_PART = 8
"""One place of so many is kept for keys that hold none."""


def may_take(held: int, free: int, places: int) -> bool:
    """Whether a key that holds so many of the places may take one of those that are free."""
    return free > (places // KEPT_PART if held else 0)


class Turns:
    """Places for the holders of keys. Belongs to one event loop.

    Args:
        places: how many there are.
        one_for_each: a key that holds none gets one although none is free. Use it where the number of keys has a bound.
    """

    def __init__(self, places: int, *, one_for_each: bool = False) -> None:
        self._places = places
        self._free = places
        self._one_for_each = one_for_each
        self._held: Counter[str] = Counter()
        self._lines: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()  # in the order of turns

    @asynccontextmanager
    async def place(self, key: str) -> AsyncIterator[None]:
        """Holds a place for this key; waits for it."""
        if self._may_take(key):
            self._take(key)
        else:
            await self._wait(key)
        try:
            yield
        finally:
            self._give_back(key)

    async def _wait(self, key: str) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(key, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give_back(key)
            elif (line := self._lines.get(key)) is not None and turn in line:
                line.remove(turn)
                if not line:
                    del self._lines[key]
            raise

    def _may_take(self, key: str) -> bool:
        held = self._held[key]
        return may_take(held, self._free, self._places) or (self._one_for_each and not held)

    def _take(self, key: str) -> None:
        self._held[key] += 1
        self._free -= 1

    def _give_back(self, key: str) -> None:
        self._free += 1
        self._held[key] -= 1
        if not self._held[key]:
            del self._held[key]
        while (following := next(filter(self._may_take, self._lines), None)) is not None:
            line = self._lines.pop(following)
            while line:
                turn = line.popleft()
                if not turn.done():  # else it was cancelled, and its task has not noticed yet
                    self._take(following)
                    turn.set_result(None)
                    break
            if line:
                self._lines[following] = line
