"""The chunks of a resumable stream, kept so that a reader that was cut off gets the rest.

Theory of operation. Entries are numbered by their place, from 0: the place stays the same while older entries are
dropped, so a reader is one number, the place of the entry that it reads next. A caller knows no places, only the
`sequence` of the last chunk that it has, and `place_after` finds the place for it. An entry is a chunk, or an end: a
final chunk or an error. Each round of tool calls appends its chunks behind the end of the round before, so a log can
have several ends. A round begins after a number that its caller chose; a caller may have no more than that number.

Example. The chunks 1, 2 and 5 (3 to 5 were merged) and the final chunk 6 have the places 0 to 3. A caller that has
chunk 2 reads from place 2. When chunk 1 is dropped, `first` is 1, and a caller that has nothing yet learns that the
first sequence still there is 2. A caller that has chunk 5 is not hurt by that.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from itertools import islice
from operator import itemgetter

from headwater_server.domain.chunks import Chunk
from headwater_server.domain.errors import HeadwaterError
from headwater_server.eventlog.stream_log import Entry, ExpiredError, cost


class MemoryLog:
    """A StreamLog in memory; see the module's theory of operation.

    Args:
        after: the sequence of the last chunk before the log begins; 0 for a whole stream.

    Attributes:
        cost: the memory that it holds, in bytes; a character of a text that is not all ASCII counts as 4.
        first: the place of the oldest entry that is kept.
        stop: the place of the next entry.
    """

    def __init__(self, after: int = 0) -> None:
        self._entries: deque[tuple[int, Entry]] = deque()
        self._gone = after  # no chunk up to this sequence is kept
        self._last = after  # the highest sequence of all chunks
        self._rounds: dict[int, int] = {}  # the number after which a later round begins, and its place
        self.cost = 0
        self.first = 0
        self.stop = 0

    @property
    def first_sequence(self) -> int:
        """The sequence after which a reader can still begin, plus one."""
        return self._gone + 1

    @property
    def last_sequence(self) -> int:
        """The highest sequence of all chunks."""
        return self._last

    def begin_round(self, after: int) -> None:
        """The next chunks belong to a later round, which begins after this number, the last one or a higher one."""
        self._rounds = {number: place for number, place in self._rounds.items() if place > self.first}
        self._rounds[after] = self.stop
        self._last = after

    def append(self, entry: Entry) -> None:
        """Adds an entry; the sequence of a chunk is above all before."""
        self._last = self._last if isinstance(entry, HeadwaterError) else entry.sequence
        self._entries.append((self._last, entry))
        self.cost += cost(entry)
        self.stop += 1

    def entry(self, place: int) -> Entry:
        """The entry at this place, which is kept."""
        return self._entries[place - self.first][1]

    def chunks(self, place: int) -> Iterator[Chunk]:
        """The chunks from this place on, up to the next end or to the last that there is."""
        for _, entry in islice(self._entries, place - self.first, None):
            if not isinstance(entry, Chunk):
                return
            yield entry

    def cost_from(self, place: int) -> int:
        """The memory of the entries from this place on, in bytes."""
        return sum(cost(entry) for _, entry in islice(self._entries, place - self.first, None))

    def drop_first(self) -> None:
        """Drops the oldest entry."""
        self._gone, entry = self._entries.popleft()
        self.cost -= cost(entry)
        self.first += 1

    def place_after(self, sequence: int) -> int:
        """The place of the entry that follows the chunk with this sequence. Of a stream that has ended with that chunk,
        the end: a reader always gets one.

        Raises ExpiredError when a chunk after it is gone, and ValueError for a number that no chunk of the log has.
        """
        if sequence < self._gone:
            raise ExpiredError
        if self._rounds.get(sequence, -1) >= self.first:
            return self._rounds[sequence]
        offset = bisect_right(self._entries, sequence, key=itemgetter(0))
        if sequence != self._gone and not (offset and self._entries[offset - 1][0] == sequence):
            raise ValueError(sequence)
        if offset == len(self._entries) and offset and not isinstance(self._entries[-1][1], Chunk):
            offset -= 1
        return self.first + offset
