"""The log of a resumable stream: its entries, and the protocol of the places that can keep them.

A stream depends on nothing of a log but this protocol. A log may be kept outside of the process: nothing in it is
shared but its entries, which are plain values, and the id of the stream says which process reads the provider.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, TypeAlias

from headwater_server.domain.chunks import Chunk, Delta, FinalChunk
from headwater_server.domain.errors import HeadwaterError
from headwater_server.domain.messages import Text, Thinking

Entry: TypeAlias = Chunk | FinalChunk | HeadwaterError

ENTRY_COST = 400
"""The memory of an entry apart from its text, in bytes."""


class ExpiredError(Exception):
    """The log does not have all entries after a sequence any more."""


class StreamLog(Protocol):
    """Entries of one stream, numbered by their place from 0; a place stays the same while older entries are dropped.

    Attributes:
        cost: the memory that it holds, in bytes.
        first: the place of the oldest entry that is kept.
        stop: the place of the next entry.
    """

    cost: int
    first: int
    stop: int

    @property
    def first_sequence(self) -> int:
        """The sequence after which a reader can still begin, plus one."""
        ...

    @property
    def last_sequence(self) -> int:
        """The highest sequence of all chunks."""
        ...

    def begin_round(self, after: int) -> None:
        """The next chunks belong to a later round, which begins after this number, the last one or a higher one."""
        ...

    def append(self, entry: Entry) -> None:
        """Adds an entry; the sequence of a chunk is above all before."""
        ...

    def entry(self, place: int) -> Entry:
        """The entry at this place, which is kept."""
        ...

    def chunks(self, place: int) -> Iterator[Chunk]:
        """The chunks from this place on, up to the next end or to the last that there is."""
        ...

    def cost_from(self, place: int) -> int:
        """The memory of the entries from this place on, in bytes."""
        ...

    def drop_first(self) -> None:
        """Drops the oldest entry."""
        ...

    def place_after(self, sequence: int) -> int:
        """The place of the entry that follows the chunk with this sequence. Of a stream that has ended with that chunk,
        the end: a reader always gets one.

        Raises ExpiredError when a chunk after it is gone, and ValueError for a number that no chunk of the log has.
        """
        ...


def cost(entry: Entry) -> int:
    """About how much memory an entry takes, in bytes."""
    if isinstance(entry, Chunk):
        return ENTRY_COST + _delta_cost(entry.delta)
    if not isinstance(entry, FinalChunk):
        return ENTRY_COST
    size = ENTRY_COST + sum(ENTRY_COST + 2 * _text_cost(call.arguments) for call in entry.tool_calls)
    # The message has the calls too: they are counted twice.
    parts = entry.message.parts if entry.message is not None else ()
    return size + sum(ENTRY_COST + _text_cost(part.text) for part in parts if isinstance(part, Text | Thinking))


def _delta_cost(delta: Delta) -> int:
    size = _text_cost(delta.content) + _text_cost(delta.thinking) + _text_cost(delta.refusal)
    size += len(delta.thinking_signature) + len(delta.redacted_thinking) + len(delta.provider_data or "")
    if delta.tool_calls:
        size += sum(ENTRY_COST + _text_cost(call.arguments) for call in delta.tool_calls)
    if (beside := delta.beside) is not None:
        size += sum(ENTRY_COST + len(image.data) for image in beside.images)
        size += sum(ENTRY_COST + _text_cost(citation.quoted_text) for citation in beside.citations)
        size += sum(token.size for token in beside.logprobs)
    return size


def _text_cost(text: str) -> int:
    return len(text) if text.isascii() else 4 * len(text)
