"""An event as a journal keeps it."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace

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
    """An event as it is kept. A merged chunk has marks, so that a watcher can begin in the middle of it.

    `is_damaged`: the event itself cannot be read; this is a warning in its place.
    """

    event: RunEvent
    marks: tuple[ChunkMark, ...] = ()
    is_damaged: bool = False

    @property
    def first(self) -> int:
        """The number of its first chunk, or of the event itself."""
        return self.marks[0].sequence if self.marks else self.event.sequence

    def clipped(self, after: int, last: int) -> StoredEvent | None:
        """The merged chunk with no more text than a reader needs who has the number `after` and reads up to `last`.

        None when none of its chunks is in between.
        """
        event = self.event
        marks = self.marks or (ChunkMark(event.sequence, len(event.content), len(event.thinking)),)
        start = bisect_right(marks, after, key=lambda mark: mark.sequence)
        stop = bisect_right(marks, last, key=lambda mark: mark.sequence)
        if start >= stop:
            return None
        nothing = ChunkMark(0, 0, 0)
        before = marks[start - 1] if start else nothing
        dropped = bisect_right(marks, event.omitted, key=lambda mark: mark.content + mark.thinking)
        base = marks[dropped - 1] if dropped else nothing  # the text begins there
        begin, end = max(before, base, key=lambda mark: mark.sequence), marks[stop - 1]
        clipped = replace(
            event,
            content=event.content[begin.content - base.content : max(end.content - base.content, 0)],
            thinking=event.thinking[begin.thinking - base.thinking : max(end.thinking - base.thinking, 0)],
            omitted=begin.content + begin.thinking,
            sequence=end.sequence,
        )
        return StoredEvent(clipped, marks[max(start - 1, 0) : stop])
