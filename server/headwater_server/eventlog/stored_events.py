"""An event as a journal keeps it."""

from __future__ import annotations

from dataclasses import dataclass

from headwater_server.domain.workflow import RunEvent


@dataclass(frozen=True, slots=True)
class ChunkMark:
    """Where one chunk of an attempt ended: its sequence, and how many characters of text and thinking came up to there.

    Both count from the attempt's begin, what is no longer kept included.
    """

    sequence: int
    content: int
    thinking: int


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as it is kept. A merged chunk has marks, so that a watcher can begin in the middle of it."""

    event: RunEvent
    marks: tuple[ChunkMark, ...] = ()
