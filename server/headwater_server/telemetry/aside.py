"""Work that would hold the event loop is done on a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Aside:
    """Does work on a thread, one piece at a time: between its steps the event loop has its turns."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def do(self, work: Callable[[], T], *, is_large: bool) -> T:
        """The result of the work. It is done at once unless it is large: a thread costs a tenth of a millisecond."""
        if not is_large:
            return work()
        async with self._turn:
            return await asyncio.to_thread(work)
