"""Gives the chunks of a stream to an outlet in the callbacks in which they come, while the task of the call sleeps.

Theory of operation. `_gives` gives a chunk, or the outlet cannot take it now. Then the chunk is kept, and what comes
after it waits: at the stream, whose provider is not read past a bound, or in the log of a resumable stream. When the
outlet calls `writable`, the kept chunk goes first, then what waits, merged. The end of the stream wakes the task. A
chunk before which nothing waits is given by the stream itself.

Example. Chunk 1 is given. The outlet refuses chunk 2; deltas 3 to 9 come. `writable` gives chunk 2, then one chunk with
deltas 3 to 9, and has the provider read on.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

from headwater_server.domain.chunks import Chunk, FinalChunk
from headwater_server.domain.errors import HeadwaterError


class Reading(Protocol):
    """A stream, or a reader of one.

    Attributes:
        on_arrived: called when there is something to take, instead of waking `next`; says whether all was taken.
        give: gets a chunk before which nothing waits, instead of that call; says whether it was taken.
    """

    on_arrived: Callable[[], bool] | None
    give: Callable[[Chunk], bool] | None

    async def next(self) -> Chunk | FinalChunk:
        """The next chunk; the last is a FinalChunk. Raises HeadwaterError."""
        ...

    def take(self) -> Chunk | FinalChunk | HeadwaterError | None:
        """As `next`, but an error is returned, and None while there is nothing."""
        ...

    def wait_for_provider(self, *, waits: bool) -> None:
        """Whether all that came was taken, and the next chunk is taken at once."""
        ...

    def resume(self) -> None:
        """All that came was taken later than it came: the provider is read on."""
        ...


class Push(ABC):
    """The chunks of a stream on their way to an outlet.

    Args:
        stream: the stream, or a reader of it, whose first chunk was taken.
    """

    __slots__ = ("__weakref__", "_end", "_kept", "_stream")

    def __init__(self, stream: Reading) -> None:
        self._stream = stream
        self._kept: Chunk | None = None
        self._end: asyncio.Future[FinalChunk | Exception] | None = asyncio.get_running_loop().create_future()

    async def run(self) -> FinalChunk:
        """Gives all chunks but the last one, which it returns. Raises the error with which the stream ended."""
        assert self._end is not None  # noqa: S101  a push runs once
        self._stream.on_arrived = self._flow
        try:
            if self._flow():
                self._stream.resume()
            end = await self._end
        finally:
            self._end = self._stream.on_arrived = self._stream.give = None
        try:
            if isinstance(end, FinalChunk):
                return end
            raise end
        finally:
            del end  # this frame, to which the traceback refers, would keep the error

    def writable(self) -> None:
        """The outlet takes chunks again."""
        kept, self._kept = self._kept, None
        if kept is not None and self._end is not None and self._gives(kept) and self._flow():
            self._stream.resume()

    def _flow(self) -> bool:
        """Gives what is there. Whether all of it was taken."""
        while self._kept is None:
            chunk = self._stream.take()
            if chunk is None:
                self._stream.wait_for_provider(waits=True)
                self._stream.give = self._gives
                return True
            if not isinstance(chunk, Chunk):
                self._finish(chunk)
                return True
            self._gives(chunk)
        return False

    @abstractmethod
    def _gives(self, chunk: Chunk) -> bool:
        """Gives a chunk to the outlet; whether it was taken. If not, `_keep` has it. It does not raise."""

    def _keep(self, chunk: Chunk, fault: Exception | None = None) -> bool:
        """Keeps a chunk that was not taken, now or because of a fault, which the call's task raises. Returns False."""
        if fault is not None:
            self._finish(fault)
        self._kept = chunk
        self._stream.give = None
        self._stream.wait_for_provider(waits=False)
        return False

    def _finish(self, end: FinalChunk | Exception) -> None:
        self._stream.on_arrived = self._stream.give = None  # a log can have chunks of the next round behind its end
        if self._end is not None and not self._end.done():
            self._end.set_result(end)
