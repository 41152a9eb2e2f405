"""Server-sent events, sans-IO: bytes in, events out, by the parsing rules of the WHATWG HTML standard.

Theory of operation. Bytes go in as they were read. Whole lines are cut off in one `splitlines`, which for bytes knows
CR, LF and CRLF and nothing else (for str it would also cut at U+2028, U+0085 and others, which are data here). The rest
after the last line end waits as a list of pieces and is joined once, when its line end comes: a line that arrives in
many reads costs time in proportion to its length. A CR at the end of a read ends its line at once; an LF at the start
of the next read then belongs to it.

Nearly every event has one line of data and perhaps a name before it. The events of a read that begins between two of
them are cut at the blank lines (`_blocks`). Anything else is read line by line.

The end of the body. The standard drops an event that lacks its blank line. Here finished lines count: servers are seen
to end with `data: [DONE]` and a single line end. A last line without any line end is dropped, so that a body which was
cut in the middle of a line never yields an event. (`framing` reads one whose JSON is complete.)
"""

from __future__ import annotations

import msgspec

from headwater_server.domain.errors import HeadwaterError, Reason

MAX_EVENT_BYTES = 32 * 1024 * 1024
"""Most bytes in the data of an event, and in any line."""

MAX_LINES = 500_000
"""Most lines in the data of an event: a short one takes ten times its length."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class ServerSentEvent(msgspec.Struct, frozen=True, gc=False):
    """An event: its name, empty where it has none, and its data lines joined with LF."""

    event: str
    data: bytes


class SSEDecoder:
    """Decodes one stream. An event over MAX_EVENT_BYTES is a HeadwaterError, raised after the events before it.

    Attributes:
        is_lone: whether the bytes that came last were one event, and nothing waits before or behind it.
    """

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._pieces_size = 0
        self._data: list[bytes] = []
        self._data_size = 0
        self._event = b""
        self._after_cr = False
        self._at_start = True
        self._too_large = False
        self._between = self.is_lone = False
        self._field = b""
        self._name = ""

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """The events that these bytes complete."""
        self.is_lone = False
        size = len(data)
        if self._between and self._pieces_size + size < MAX_EVENT_BYTES:
            if 0x0D in data:
                data = data.replace(b"\r\n", b"\n")
            elif data[:6] == b"data: " and data.find(b"\n") == size - 2 and data[-1] == 0x0A and not self._pieces:
                self.is_lone = True
                return [ServerSentEvent("", data[6:-2])]  # as nearly always
            if 0x0D not in data:
                if data[-2:] == b"\n\n":
                    event = None if self._pieces else self._plain(data[:-2])
                    self.is_lone = event is not None
                    return self._blocks(data) if event is None else [event]
                if end := data.rfind(b"\n\n") + 1:
                    return self._blocks(data[: end + 1]) + self._lines(data[end + 1 :])
                if 0x0A not in data:
                    self._keep(data)
                    return []
        return self._lines(data)

    def _blocks(self, data: bytes) -> list[ServerSentEvent]:
        """The events of whole blocks, between two events but for the begin of a line that waits."""
        if self._pieces:
            data = b"".join([*self._pieces, data])
            self._pieces.clear()
            self._pieces_size = 0
        events = []
        for block in data[:-2].split(b"\n\n"):
            if (event := self._plain(block)) is not None:
                events.append(event)
            else:
                events += self._read([*block.split(b"\n"), b""])
                self._between = self._rests()
        if self._too_large and not events:
            self._raise_if_too_large()
        return events

    def _plain(self, block: bytes) -> ServerSentEvent | None:
        """The event of a block that has one line of data and may have a name before it."""
        if block[:6] == b"data: ":
            return None if 0x0A in block else ServerSentEvent("", block[6:])
        name, line = "", block
        if block[:6] == b"event:":
            field, _, line = block.partition(b"\n")
            if field != self._field:  # most events have the name of the one before
                self._field, self._name = field, field[6:].removeprefix(b" ").decode("utf-8", "replace")
            name = self._name
        if line[:5] != b"data:" or 0x0A in line:
            return None
        return ServerSentEvent(name, line[6:] if line[5:6] == b" " else line[5:])

    def _rests(self) -> bool:
        """Whether no line of an unfinished event waits."""
        return not (self._data or self._event or self._after_cr or self._too_large)

    def _lines(self, data: bytes) -> list[ServerSentEvent]:
        if self._too_large:
            self._raise_if_too_large()
        if self._after_cr and data:
            self._after_cr = False
            data = data.removeprefix(b"\n") if data[0] == 0x0A else data
        end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        if not end:
            self._keep(data)
            if self._too_large:
                self._raise_if_too_large()
            return []
        self._after_cr = data[end - 1] == 0x0D and end == len(data)
        whole = data[:end]
        if self._pieces:
            whole = b"".join([*self._pieces, whole])
            self._pieces.clear()
            self._pieces_size = 0
        events = self._read(whole.splitlines())
        if end < len(data):
            self._keep(data[end:])
        self._between = self._rests()
        if self._too_large and not events:
            self._raise_if_too_large()
        return events

    def close(self) -> list[ServerSentEvent]:
        """The event that the end of the body completes, if its lines were finished."""
        self._raise_if_too_large()
        return [self._take()] if self._data else []

    def _read(self, lines: list[bytes]) -> list[ServerSentEvent]:
        if self._at_start:
            self._at_start = False
            lines[0] = lines[0].removeprefix(_BYTE_ORDER_MARK)
        events = []
        for line in lines:
            if not line:
                if self._data:
                    events.append(self._take())
                self._event = b""
                continue
            field, _, value = line.partition(b":")
            if field == b"data":
                value = value.removeprefix(b" ")
                self._data.append(value)
                self._data_size += len(value) + 1
            elif field == b"event":
                self._event = value.removeprefix(b" ")
            elif field and (unusual := self._unusual(line)):
                events.append(unusual)
            # A comment has an empty field name; `id` and `retry` are about reconnecting.
            if len(line) > MAX_EVENT_BYTES or self._data_size > MAX_EVENT_BYTES:
                self._too_large = True
                break
        if len(self._data) > MAX_LINES:
            self._too_large = True
        return events

    def _unusual(self, _line: bytes) -> ServerSentEvent | None:
        """The event that a line of another field completes: by the standard none."""
        return None

    def _take(self) -> ServerSentEvent:
        data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        event = ServerSentEvent(self._event.decode("utf-8", "replace"), data)
        self._data.clear()
        self._data_size = 0
        return event

    def _keep(self, piece: bytes) -> None:
        if piece:
            self._pieces.append(piece)
            self._pieces_size += len(piece)
            self._too_large |= self._pieces_size > MAX_EVENT_BYTES

    def _raise_if_too_large(self) -> None:
        if self._too_large:
            raise HeadwaterError(Reason.PROVIDER_UNAVAILABLE, "The provider sent an event of more than 32 MiB")
