"""The chunks of one attempt of a step.

Theory of operation. All chunks of a run share one sequence of numbers, so the numbers of an attempt have gaps where
other steps wrote. Every chunk has a mark: its number, and how many characters came up to its end. While the attempt
runs, the text is kept chunk by chunk. When it has ended, the text is joined, and only the marks tell the chunks apart.
In both forms a reader can begin after any chunk, and text can be dropped from the front. The difference of two marks
says how much a reader missed. For dropped chunks a reader gets events without text: they report the loss before the
reader sees a higher number.

Example. Chunks 3 ("ab"), 4 ("c") and 7 ("de") have the marks (3, 2), (4, 3), (7, 5). When the first two are dropped,
"de" is left; a reader that has nothing yet gets chunk 4 without text and with `omitted` 3, then chunk 7.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right

from headwater_server.domain.workflow import EventType, RunEvent
from headwater_server.eventlog.stored_events import ChunkMark, StoredEvent

MAX_EVENT_CHARACTERS = 16 * 1024  # as much as one event holds: at most 64 KiB of UTF-8
CHUNK_COST = 100  # the memory of a chunk's objects, counted in characters
MARK_COST = 12  # the same for a chunk of joined text
MAX_DROPPED_MARKS = 8192  # marks of dropped text; past it every second one goes


class ChunkBuffer:
    """Chunks of one attempt; see the module's theory of operation.

    Attributes:
        cost: the memory that it holds, counted in characters; see CHUNK_COST and MARK_COST.
        void: its text counts no more: the attempt is repeated, or a later one has begun.
        numbers: of all its chunks.
    """

    def __init__(self, step: str, attempt: int) -> None:
        self.step = step
        self.attempt = attempt
        self.cost = 0
        self.void = False
        self.numbers = array("i")
        self._times = array("d")
        self._content_ends = array("q")
        self._thinking_ends = array("q")
        self._contents: list[str] = []  # of the chunks that are not dropped; when joined, one text
        self._thinkings: list[str] = []
        self._joined = False
        self._dropped = 0  # so many chunks from the front have no text any more

    @classmethod
    def restore(cls, stored: StoredEvent) -> ChunkBuffer:
        """The buffer whose `finish` gave this event."""
        event = stored.event
        marks = stored.marks or (ChunkMark(event.sequence, len(event.content), len(event.thinking)),)
        buffer = cls(event.step, event.attempt)
        buffer.numbers.extend(mark.sequence for mark in marks)
        buffer._times.extend(event.create_time for _ in marks)
        buffer._content_ends.extend(mark.content for mark in marks)
        buffer._thinking_ends.extend(mark.thinking for mark in marks)
        buffer._dropped = bisect_right(marks, event.omitted, key=lambda mark: mark.content + mark.thinking)
        buffer._contents.append(event.content)
        buffer._thinkings.append(event.thinking)
        buffer._join()
        return buffer

    @property
    def oldest(self) -> float:
        """Number of the first chunk whose text is kept; infinity when there is none."""
        return self.numbers[self._dropped] if self._dropped < len(self.numbers) else math.inf

    def add(self, number: int, time: float, content: str, thinking: str) -> None:
        """Adds a chunk, which is not empty; its number is above all before."""
        first = not self.numbers
        self._content_ends.append(len(content) + (0 if first else self._content_ends[-1]))
        self._thinking_ends.append(len(thinking) + (0 if first else self._thinking_ends[-1]))
        self.numbers.append(number)
        self._times.append(time)
        self._contents.append(content)
        self._thinkings.append(thinking)
        self.cost += len(content) + len(thinking) + CHUNK_COST

    def finish(self) -> StoredEvent:
        """The attempt has ended: all its chunks as one, with marks."""
        self._join()
        event = RunEvent(
            EventType.STEP_CHUNK,
            step=self.step,
            attempt=self.attempt,
            content=self._contents[0],
            thinking=self._thinkings[0],
            omitted=self._characters(self._dropped),
            sequence=self.numbers[-1],
            create_time=self._times[0],
        )
        return StoredEvent(event, tuple(map(ChunkMark, self.numbers, self._content_ends, self._thinking_ends)))

    def clear(self) -> None:
        """Makes it void."""
        self.void = True
        self.cost = 0
        self._contents = []
        self._thinkings = []

    def drop(self, cost: int) -> None:
        """Drops its oldest text: as much as costs so much, or all."""
        start = self._dropped
        each = MARK_COST if self._joined else CHUNK_COST
        freed = 0
        while freed < cost and self._dropped < len(self.numbers):
            self._dropped += 1
            freed = self._characters(self._dropped) - self._characters(start) + each * (self._dropped - start)
        self.cost -= freed
        if self._joined:
            content = _end(self._content_ends, self._dropped) - _end(self._content_ends, start)
            thinking = _end(self._thinking_ends, self._dropped) - _end(self._thinking_ends, start)
            self._contents[0] = self._contents[0][content:]
            self._thinkings[0] = self._thinkings[0][thinking:]
        else:
            del self._contents[: self._dropped - start]
            del self._thinkings[: self._dropped - start]
        self._thin()

    def take(self, after: int, last: int, seen: int) -> RunEvent | None:
        """One event with chunks numbered above `after` and up to `last`, as many as fit; None for none.

        Within an event thinking comes before text, so that merging keeps their order.

        Args:
            after: the last number that the reader has.
            last: the number up to which no other step has an event.
            seen: the last of this attempt's numbers that the reader has; `omitted` counts the loss since then.
        """
        start, stop = bisect_right(self.numbers, after), bisect_right(self.numbers, last)
        if start >= stop:
            return None
        first = max(start, min(self._dropped, stop))
        end = self._reach(first, stop)
        content, thinking = self._text(first, end)
        return RunEvent(
            EventType.STEP_CHUNK,
            step=self.step,
            attempt=self.attempt,
            content=content,
            thinking=thinking,
            omitted=self._characters(first) - self._characters(bisect_right(self.numbers, seen)),
            sequence=self.numbers[end - 1],
            create_time=self._times[start],
        )

    def _reach(self, first: int, stop: int) -> int:
        """Where an event ends that begins with the chunk `first`."""
        content, thinking = _end(self._content_ends, first), _end(self._thinking_ends, first)
        most = content + thinking + MAX_EVENT_CHARACTERS
        has_text = False
        for i in range(first, stop):
            content_end, thinking_end = self._content_ends[i], self._thinking_ends[i]
            if i > first and (content_end + thinking_end > most or (has_text and thinking_end > thinking)):
                return i
            has_text = has_text or content_end > content
            thinking = thinking_end
        return stop

    def _text(self, first: int, end: int) -> tuple[str, str]:
        """Text and thinking of the chunks from `first` to before `end`; none of them is dropped."""
        if first == end:
            return "", ""
        if self._joined:
            return (
                self._cut(self._contents[0], self._content_ends, first, end),
                self._cut(self._thinkings[0], self._thinking_ends, first, end),
            )
        part = slice(first - self._dropped, end - self._dropped)
        return "".join(self._contents[part]), "".join(self._thinkings[part])

    def _cut(self, text: str, ends: array[int], first: int, end: int) -> str:
        base = _end(ends, self._dropped)
        return text[_end(ends, first) - base : _end(ends, end) - base]

    def _characters(self, count: int) -> int:
        """Characters of the first `count` chunks."""
        return _end(self._content_ends, count) + _end(self._thinking_ends, count)

    def _join(self) -> None:
        self._contents = ["".join(self._contents)]
        self._thinkings = ["".join(self._thinkings)]
        self._joined = True
        kept = len(self.numbers) - self._dropped
        self.cost = len(self._contents[0]) + len(self._thinkings[0]) + MARK_COST * kept

    def _thin(self) -> None:
        """Bounds the marks of dropped text. A reader that begins between two of them gets a higher `omitted`."""
        if self._dropped <= MAX_DROPPED_MARKS:
            return
        for marks in (self.numbers, self._times, self._content_ends, self._thinking_ends):
            del marks[: self._dropped - 1 : 2]
        self._dropped -= len(range(0, self._dropped - 1, 2))


def _end(ends: array[int], count: int) -> int:
    """Where the first `count` chunks end."""
    return ends[count - 1] if count else 0
