"""The channel between the task that reads a provider and the one that writes to the caller.

Theory of operation. One task puts deltas, one takes chunks, both on one event loop, so nothing here needs a lock. A
reader that keeps up takes every delta as a chunk of its own. A reader that is behind finds several deltas waiting, and
those that say the same kind of thing are merged into one chunk: one message costs about the same whatever its size, so
merging is what lets a slow reader catch up. What may be merged: text with text, thinking with thinking, within one
content block and one event type. Anything else keeps its place between them.

The waiting data is bounded: past the bound `full` is true and the producer waits in `space()`, so that the provider's
connection is no longer read and TCP slows the provider down.

Sizes are counted in characters, each at most four bytes of UTF-8: the bounds in bytes hold without encoding anything.
A waiting chunk, and each piece merged into one, also counts what its objects cost, so that a provider that sends very
many very small deltas fills the channel too.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque

from headwater_server.domain.chunks import Chunk, Delta, FinalChunk, ToolCallDelta
from headwater_server.domain.errors import HeadwaterError

MAX_MERGED_CHARACTERS = 16 * 1024  # at most 64 KiB of UTF-8
MAX_WAITING_CHARACTERS = 128 * 1024
MAX_DELTA_CHARACTERS = 256 * 1024  # at most 1 MiB of UTF-8: far below gRPC's limit for a message
CHUNK_COST = 256
PIECE_COST = 32


class _Waiting:
    """A chunk that has not been taken, with the pieces of text that were merged into it."""

    __slots__ = ("chunk", "kind", "pieces", "size")

    def __init__(self, chunk: Chunk, kind: str, size: int) -> None:
        self.chunk = chunk
        self.kind = kind
        self.size = size
        self.pieces: list[str] | None = None

    @property
    def cost(self) -> int:
        """What it counts in the channel."""
        pieces = 0 if self.pieces is None else len(self.pieces) - 1
        return self.size + CHUNK_COST + PIECE_COST * pieces

    def merge(self, text: str, sequence: int) -> None:
        if self.pieces is None:
            self.pieces = [getattr(self.chunk.delta, self.kind)]
            self.chunk.merged = True
        self.pieces.append(text)
        self.size += len(text)
        self.chunk.sequence = sequence

    def finish(self) -> Chunk:
        if self.pieces is not None:
            setattr(self.chunk.delta, self.kind, "".join(self.pieces))
        return self.chunk


class MergingChannel:
    """A bounded queue of chunks for one reader; see the module's theory of operation.

    Args:
        after: sequence number after which the count begins.

    Attributes:
        sequence: sequence number of the last delta put.
    """

    def __init__(self, after: int = 0) -> None:
        self.sequence = after
        self._waiting: deque[_Waiting] = deque()
        self._size = 0
        self._end: FinalChunk | HeadwaterError | None = None
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None

    @property
    def full(self) -> bool:
        """More data waits than the bound allows; the producer should wait for `space`."""
        return self._size > MAX_WAITING_CHARACTERS

    def put(self, delta: Delta) -> None:
        """Adds a delta. Never blocks: a producer that finds the channel `full` afterwards waits for `space`."""
        kind = _kind(delta)
        size = len(getattr(delta, kind)) if kind else _size(delta)
        if size > MAX_DELTA_CHARACTERS:
            for piece in _split(delta):
                self._add(piece, _kind(piece), _size(piece))
        else:
            self._add(delta, kind, size)
        _wake(self._reader)

    def _add(self, delta: Delta, kind: str, size: int) -> None:
        self.sequence += 1
        if kind and self._waiting:
            tail = self._waiting[-1]
            if (
                tail.kind == kind
                and tail.size + size <= MAX_MERGED_CHARACTERS
                and tail.chunk.delta.block == delta.block
                and tail.chunk.delta.event_type == delta.event_type
            ):
                tail.merge(getattr(delta, kind), self.sequence)
                self._size += size + PIECE_COST
                return
        self._waiting.append(_Waiting(Chunk(self.sequence, time.time(), delta), kind, size))
        self._size += size + CHUNK_COST

    def end(self, end: FinalChunk | HeadwaterError) -> None:
        """Says how the stream ended; the reader gets it after all that waits. The first end counts."""
        if self._end is None:
            self._end = end
            _wake(self._reader)

    def clear(self) -> None:
        """Lets go of all that waits, for a reader that has left."""
        self._waiting.clear()
        self._size = 0
        self._end = None

    async def space(self) -> None:
        """Waits until the reader has taken enough that the channel is no longer full."""
        while self.full:
            self._writer = asyncio.get_running_loop().create_future()
            await self._writer

    async def get(self) -> Chunk | FinalChunk:
        """The next chunk, in order. Raises the HeadwaterError with which the stream ended, after the last chunk."""
        while not self._waiting:
            if self._end is not None:
                if isinstance(self._end, HeadwaterError):
                    raise self._end
                return self._end
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        waiting = self._waiting.popleft()
        self._size -= waiting.cost
        if not self.full:
            _wake(self._writer)
        return waiting.finish()


def _wake(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)


def _kind(delta: Delta) -> str:
    """The field in which the delta can be merged or split; empty for one that says more, or something else."""
    if delta.tool_calls or delta.thinking_signature or delta.redacted_thinking or delta.refusal:
        return ""
    if delta.content:
        return "" if delta.thinking else "content"
    return "thinking" if delta.thinking else ""


def _size(delta: Delta) -> int:
    """What a delta holds, in characters."""
    calls = sum(len(call.arguments) + len(call.name) + len(call.id) for call in delta.tool_calls or ())
    texts = (delta.content, delta.thinking, delta.thinking_signature, delta.redacted_thinking, delta.refusal)
    return calls + sum(map(len, texts))


def _split(delta: Delta) -> list[Delta]:
    """The delta in pieces that each fit a message. What is opaque stays whole: nobody could put it together again."""
    pieces = []
    for field in ("thinking", "content", "refusal"):
        for text in _cut(getattr(delta, field)):
            piece = Delta(event_type=delta.event_type, block=delta.block)
            setattr(piece, field, text)
            pieces.append(piece)
    for call in delta.tool_calls or ():
        for i, text in enumerate(_cut(call.arguments) or [""]):
            head = (call.id, call.name) if i == 0 else ("", "")
            part = ToolCallDelta(call.index, *head, arguments=text)
            pieces.append(Delta(tool_calls=[part], event_type=delta.event_type, block=delta.block))
    for field in ("thinking_signature", "redacted_thinking"):
        if getattr(delta, field):
            piece = Delta(event_type=delta.event_type, block=delta.block)
            setattr(piece, field, getattr(delta, field))
            pieces.append(piece)
    return pieces


def _cut(text: str) -> list[str]:
    return [text[start : start + MAX_DELTA_CHARACTERS] for start in range(0, len(text), MAX_DELTA_CHARACTERS)]
