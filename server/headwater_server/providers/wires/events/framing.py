"""The framing of an answer whose body decides what it is: server-sent events, JSON lines, one JSON text, or none.

Servers label streams with any type of content, or with none, and answer with one JSON text where a stream was asked
for. So the first bytes decide. Within either framing a message of the other is read too: an error as a bare JSON line
between events, `data:` before the objects of JSON lines.
"""

from __future__ import annotations

import re

from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.providers.wires.events.ndjson import NDJSONDecoder
from headwater_server.providers.wires.events.scanner import JSONScanner
from headwater_server.providers.wires.events.sse import MAX_EVENT_BYTES, ServerSentEvent, SSEDecoder
from headwater_server.providers.wires.failures.report import read_body
from headwater_server.providers.wires.json import BYTE_ORDER_MARK

MAX_PAGE_BYTES = 64 * 1024
"""Most bytes of an answer that is no stream, for the words of its error."""

_LINE_BYTES = 40
"""The memory that a short line takes, beside its bytes."""

ERROR_EVENT = "error"

_FIELD = re.compile(rb"(data|event|id|retry|error)[:\r\n]|:")
_BEGINS = frozenset(field[:size] for field in (b"data:", b"event:", b"id:", b"retry:", b"error:") for size in range(7))
"""Of the names of fields all beginnings, and the whole: with no more than that it is open what the body is."""
_LATER_EVENT = re.compile(rb"[\r\n](?=(?:data|event):)")
_COMPRESSED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_BLANK = b" \t\r\n\x1e\0"


class AnyFraming:
    """Chooses the framing of one answer.

    Args:
        content_type: of the answer, for its error when it is no stream.
    """

    def __init__(self, content_type: str = "") -> None:
        self._content_type = content_type
        self._head = b""
        self._chosen: SSEDecoder | _JSONTexts | _Page | None = None

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """The messages that these bytes complete."""
        head = (self._head + data).lstrip(_BLANK)
        if BYTE_ORDER_MARK.startswith(head[:3]):
            head = head[3:].lstrip(_BLANK) if len(head) >= len(BYTE_ORDER_MARK) else head
        self._head = head
        if head in _BEGINS or BYTE_ORDER_MARK.startswith(head):
            return []
        messages = self._choose(head)
        if head != data and isinstance(self._chosen, SSEDecoder):
            self._chosen.is_lone = False  # other bytes came with the event, or before
        return messages

    @property
    def is_lone(self) -> bool:
        """Whether the bytes that came last were one event, and nothing waits before or behind it."""
        return isinstance(self._chosen, SSEDecoder) and self._chosen.is_lone

    def close(self) -> list[ServerSentEvent]:
        """The messages that the end of the body completes."""
        messages = [] if self._chosen is not None or not self._head else self._choose(self._head)
        return messages if self._chosen is None else messages + self._chosen.close()

    def _choose(self, head: bytes) -> list[ServerSentEvent]:
        if head[:1] in (b"{", b"["):
            self._chosen = _JSONTexts()
        elif _FIELD.match(head):
            self._chosen = _LiberalEvents()
        else:
            self._chosen = _Page(self._content_type)
        self._head = b""
        self.feed = self._chosen.feed  # type: ignore[method-assign]  # every chunk passes here
        return self._chosen.feed(head)


class _LiberalEvents(SSEDecoder):
    """Server-sent events, with lines that the standard ignores and servers send: an error, or a bare JSON object.

    An error stands in a field `error` (llama.cpp), or is the provider's own body put between the events by a proxy.
    The last line may lack its line end; whether it was cut shows by the brackets of its JSON.
    """

    def __init__(self) -> None:
        super().__init__()
        # It begins behind a byte order mark.
        self._at_start, self._between = False, True
        self._bare: list[bytes] = []
        self._bare_size = 0
        self._scanner: JSONScanner  # of a bare line that has begun

    def close(self) -> list[ServerSentEvent]:
        last = b"".join(self._pieces)
        if last.startswith(b"data:") and _is_complete(b"\n".join([*self._data, last[5:]])):
            self._data.append(last[5:].removeprefix(b" "))
        events = super().close()
        if (self._bare or last.startswith(b"{")) and (event := self._unusual(last)):
            events.append(event)
        return events

    def _rests(self) -> bool:
        return super()._rests() and not self._bare

    def _unusual(self, line: bytes) -> ServerSentEvent | None:
        line = line.removeprefix(BYTE_ORDER_MARK)
        if line.startswith(b"{") or self._bare:
            return self._bare_line(line)
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"error":
            return ServerSentEvent(ERROR_EVENT, value)
        if field == b"data" and value:  # behind a byte order mark
            return ServerSentEvent(self._event.decode("utf-8", "replace"), value)
        return None

    def _bare_line(self, line: bytes) -> ServerSentEvent | None:
        if not self._bare:
            self._scanner = JSONScanner()
        self._bare.append(line)
        self._bare_size += len(line) + _LINE_BYTES
        if self._bare_size > MAX_EVENT_BYTES:
            self._too_large = True
            return None
        self._scanner.feed(line.decode("latin-1"))
        if not self._scanner.complete:
            return None
        data = b"\n".join(self._bare)
        self._bare, self._bare_size = [], 0
        return ServerSentEvent("", data)


def _is_complete(text: bytes) -> bool:
    scanner = JSONScanner()
    scanner.feed(text.decode("latin-1"))
    return scanner.complete


class _JSONTexts(NDJSONDecoder):
    """JSON texts, one a line or over several lines; the items of a list are messages."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[bytes] = []
        self._lines_size = 0
        self._scanner = JSONScanner()

    def feed(self, data: bytes) -> list[ServerSentEvent]:  # type: ignore[override]
        if data[:1] == b"{" and data[-2:] == b"}\n" and data.count(b"\n") == 1 and not (self._pieces or self._lines):
            return [ServerSentEvent("", data[:-1])]  # one line, as it comes at normal pace
        return [message for line in super().feed(data) for message in self._messages(line)]

    def close(self) -> list[ServerSentEvent]:  # type: ignore[override]
        messages = [message for line in super().close() for message in self._messages(line)]
        if self._lines:
            messages.append(ServerSentEvent("", b"\n".join(self._lines)))
        return messages

    def _messages(self, line: bytes) -> list[ServerSentEvent]:
        if not self._lines:
            if line[0] == 0x7B and line[-1] == 0x7D:
                return [ServerSentEvent("", line)]
            line = line.strip(_BLANK).removeprefix(BYTE_ORDER_MARK)
            if line.startswith(b"data:"):
                line = line[5:].strip(_BLANK)
            elif _FIELD.match(line):
                return []
            if not line.startswith((b"{", b"[")) or line.upper().startswith(b"[DONE]"):
                return [ServerSentEvent("", line)] if line else []
        self._lines.append(line)
        self._lines_size += len(line) + _LINE_BYTES
        if self._lines_size > MAX_EVENT_BYTES:
            raise HeadwaterError(Reason.PROVIDER_UNAVAILABLE, "The provider sent a reply of more than 32 MiB")
        self._scanner.feed(line.decode("latin-1"))
        if not self._scanner.complete:
            return []
        text = b"\n".join(self._lines)
        self._lines, self._lines_size, self._scanner = [], 0, JSONScanner()
        return [ServerSentEvent("", text)]


class _Page:
    """An answer that is no stream: a page of HTML, a sentence. Events after a first line of another kind are read."""

    def __init__(self, content_type: str) -> None:
        self._content_type = content_type
        self._text = b""
        self._events: _LiberalEvents | None = None

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        if self._events is None:
            self._text += data
            found = _LATER_EVENT.search(self._text)
            if found is None:
                self._text = self._text[:MAX_PAGE_BYTES]
                return []
            self._events = _LiberalEvents()
            data = self._text[found.end() :]
        return self._events.feed(data)

    def close(self) -> list[ServerSentEvent]:
        if self._events is not None:
            return self._events.close()
        raise not_a_stream(self._content_type, self._text)


def not_a_stream(content_type: str, text: bytes = b"") -> HeadwaterError:
    """The error for an answer that is neither a stream nor JSON, with its own words where it has some."""
    for mark, kind in _COMPRESSED.items():
        if text.startswith(mark):
            message = f"the provider's answer is compressed ({kind}), which its headers do not say; turn it off there"
            return HeadwaterError(Reason.PROVIDER_UNAVAILABLE, message)
    shown = content_type.partition(";")[0].strip().lower()[:100] or "no type of content"
    words = read_body(text).message
    message = f"the provider answered with {shown}, not a stream{f' ({words})' if words else ''}; check its base URL"
    return HeadwaterError(Reason.PROVIDER_UNAVAILABLE, message)
