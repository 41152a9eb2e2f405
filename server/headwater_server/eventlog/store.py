"""The events of a run in memory, as its watchers read them.

Theory of operation. A watcher has seen everything up to one number, its position. When it returns it can only say that
number, so the number must tell exactly which events it has seen. Events are therefore read strictly in the order of
their numbers. The store keeps an index of that order: a slot for each event, and one for each stretch of chunks of the
same attempt without another event between them. All waiting chunks of a stretch are read as one event. Chunks of steps
that run side by side alternate, so they are read in turns, also after a step has ended.

The text of all chunks is bounded. Past the bound the oldest text is dropped. A watcher that has not seen it gets a
chunk in its place that says how much is missing. Where text of several attempts is gone with nothing left between, each
attempt has one such chunk.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from operator import attrgetter

from headwater_server.domain.workflow import EventType, RunEvent
from headwater_server.eventlog.chunks import ChunkBuffer
from headwater_server.eventlog.stored_events import StoredEvent

MAX_CHARACTERS = 1024 * 1024
_DROP_AT_ONCE = 32 * 1024
_COMPACT_FROM = 1024


class Cursor:
    """Where a watcher is: it has seen everything up to `position`."""

    __slots__ = ("_first", "_seen", "position")

    def __init__(self, after: int) -> None:
        self.position = after
        self._first = after
        self._seen: dict[tuple[str, int], int] = {}

    def seen(self, buffer: ChunkBuffer) -> int:
        """The last number of an attempt's chunks that it has."""
        return self._seen.get((buffer.step, buffer.attempt), self._first)

    def advance(self, event: RunEvent) -> None:
        """The watcher gets this event."""
        self.position = event.sequence
        if event.type is EventType.STEP_CHUNK:
            self._seen[event.step, event.attempt] = event.sequence


class EventStore:
    """Events of one run; see the module's theory of operation.

    Args:
        entries: the events that the journal has of the run.
        max_characters: bound of the text of all chunks.
    """

    def __init__(self, entries: Iterable[StoredEvent] = (), max_characters: float = MAX_CHARACTERS) -> None:
        self._max_characters = max_characters
        self._size = 0
        self._buffers: dict[str, dict[int, ChunkBuffer]] = {}
        self._progress: dict[str, RunEvent] = {}  # the latest of each step
        self._starts: list[int] = []  # the number with which each slot begins; it ends before the next one
        self._slots: list[RunEvent | ChunkBuffer] = []
        self._compact_at = _COMPACT_FROM
        self._load(entries)

    def _load(self, entries: Iterable[StoredEvent]) -> None:
        slots: list[tuple[int, RunEvent | ChunkBuffer]] = []
        for entry in entries:
            event = entry.event
            if event.type is EventType.STEP_CHUNK:
                buffer = ChunkBuffer.restore(entry)
                self._buffers.setdefault(event.step, {})[event.attempt] = buffer
                self._size += buffer.cost
                slots += [(number, buffer) for number in buffer.numbers]
            else:
                slots.append((event.sequence, event))
                if event.type is EventType.STEP_STARTED:
                    self.discard(event.step, event.attempt)
        for number, slot in sorted(slots, key=lambda pair: pair[0]):
            self._append(number, slot)
        self._shrink()

    def add_event(self, event: RunEvent) -> None:
        """Adds an event that is not a chunk; its number is above all before."""
        self._append(event.sequence, event)

    def add_progress(self, event: RunEvent) -> None:
        """Adds an event about the progress of a step, in the place of the last one; its number is above all before."""
        before, self._progress[event.step] = self._progress.get(event.step), event
        if before is not None:
            slot = bisect_right(self._starts, before.sequence) - 1
            is_between = 0 < slot < len(self._slots) - 1 and self._slots[slot - 1] is self._slots[slot + 1]
            end = slot + 2 if is_between else slot + 1  # the chunks around it are neighbours now
            del self._starts[slot:end], self._slots[slot:end]
        self._append(event.sequence, event)

    def add_chunk(self, step: str, attempt: int, number: int, time: float, content: str, thinking: str) -> None:
        """Adds a chunk; its number is above all before."""
        attempts = self._buffers.setdefault(step, {})
        buffer = attempts.get(attempt)
        if buffer is None:
            buffer = attempts[attempt] = ChunkBuffer(step, attempt)
        self._size -= buffer.cost
        buffer.add(number, time, content, thinking)
        self._size += buffer.cost
        self._append(number, buffer)
        self._shrink()

    def finish(self, step: str, attempt: int) -> StoredEvent | None:
        """The attempt has ended: its chunks, merged; None when it had none."""
        buffer = self._buffers.get(step, {}).get(attempt)
        if buffer is None:
            return None
        self._size -= buffer.cost
        merged = buffer.finish()
        self._size += buffer.cost
        return merged

    def discard(self, step: str, before: int) -> None:
        """Makes the chunks of a step's attempts before that one void."""
        attempts = self._buffers.get(step, {})
        for attempt in [attempt for attempt in attempts if attempt < before]:
            buffer = attempts.pop(attempt)
            self._size -= buffer.cost
            buffer.clear()

    def read(self, cursor: Cursor, visible: int) -> RunEvent | None:
        """The next event for a watcher, up to the number `visible`; moves its cursor. None when it has all."""
        if cursor.position >= visible:
            return None
        for i in range(max(bisect_right(self._starts, cursor.position + 1) - 1, 0), len(self._starts)):
            if self._starts[i] > visible:
                break
            event = self._read_slot(i, cursor, visible)
            if event is not None:
                cursor.advance(event)
                return event
        cursor.position = visible
        return None

    def _read_slot(self, i: int, cursor: Cursor, visible: int) -> RunEvent | None:
        slot = self._slots[i]
        if isinstance(slot, RunEvent):
            return slot if slot.sequence > cursor.position else None
        if slot.void:
            return None
        last = visible if i + 1 == len(self._starts) else min(self._starts[i + 1] - 1, visible)
        return slot.take(cursor.position, last, cursor.seen(slot))

    def _append(self, start: int, slot: RunEvent | ChunkBuffer) -> None:
        if len(self._slots) >= self._compact_at:
            self._compact()
        self._push(start, slot)

    def _compact(self) -> None:
        """Frees slots: of void chunks all, of dropped ones all but an attempt's last with nothing left between."""
        ends = [*self._starts[1:], None]  # to the last slot new chunks may still belong
        slots = list(zip(self._starts, ends, self._slots, strict=True))
        self._starts, self._slots = [], []
        gap: dict[ChunkBuffer, int] = {}
        for start, end, slot in slots:
            if isinstance(slot, ChunkBuffer):
                if slot.void:
                    continue
                if end is not None and slot.oldest >= end:
                    gap.pop(slot, None)
                    gap[slot] = start
                    continue
            for dropped, dropped_start in gap.items():
                self._push(dropped_start, dropped)
            gap.clear()
            self._push(start, slot)
        for dropped, dropped_start in gap.items():
            self._push(dropped_start, dropped)
        self._compact_at = max(2 * len(self._slots), _COMPACT_FROM)

    def _push(self, start: int, slot: RunEvent | ChunkBuffer) -> None:
        if not self._slots or self._slots[-1] is not slot:
            self._starts.append(start)
            self._slots.append(slot)

    def _shrink(self) -> None:
        while self._size > self._max_characters:
            kept = [buffer for attempts in self._buffers.values() for buffer in attempts.values()]
            buffer = min(kept, key=attrgetter("oldest"))
            if buffer.oldest == math.inf:
                return
            self._size -= buffer.cost
            buffer.drop(_DROP_AT_ONCE)
            self._size += buffer.cost


def replay(entries: Iterable[StoredEvent], after: int, last: int = 2**31 - 1) -> Iterator[RunEvent]:
    """The events of a run that has ended, with numbers above `after` and up to `last`, as a watcher gets them."""
    store = EventStore(entries, math.inf)
    cursor = Cursor(after)
    while (event := store.read(cursor, last)) is not None:
        yield event
