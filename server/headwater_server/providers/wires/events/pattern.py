"""Reads an event that is written like the one before it, but for its text, without parsing it.

Theory of operation. Most servers write each event of a reply with the same bytes round a text that changes. Once such
an event was read in full, the bytes before and after its text are kept. Bytes that begin and end with them are an event
of the same kind. The bytes between are its text, as long as they are a string of JSON without escapes. Anything else is
read in full again.

Which bytes are the text of an event is certain only where they stand in it once, in quotation marks, and nothing in it
is escaped. Otherwise nothing is kept.

Example. After `data: {"delta":{"content":"Hi"}}` and its blank line, `data: {"delta":{"content":"` and `"}}` are kept.
The text of `data: {"delta":{"content":" you"}}` is then " you". The event `data: {"delta":{"content":"!","n":"1"}}` has
quotation marks between them, so it is read in full.
"""

from __future__ import annotations

from typing import Self


class TextPattern:
    """The bytes round the text of an event.

    Args:
        before, after: they have the quotation marks of the text.
    """

    __slots__ = ("_after", "_before", "_end", "_start")

    def __init__(self, before: bytes, after: bytes) -> None:
        self._before, self._after = before, after
        self._start, self._end = len(before), -len(after)

    @classmethod
    def of(cls, event: bytes, text: str) -> Self | None:
        """The pattern of an event with this text; None where it is not certain where that stands.

        Args:
            event: all bytes of the event, its blank line too.
            text: the only thing that it says.
        """
        wanted = b'"%b"' % text.encode("utf-8", "surrogatepass")
        start = event.find(wanted)
        if start < 0 or start != event.rfind(wanted) or b"\\" in event:
            return None
        return cls(event[: start + 1], event[start + len(wanted) - 1 :])

    def text_in(self, data: bytes) -> str:
        """The text, if the bytes are one event of this pattern; empty if they are not, or may be another."""
        if not (data.startswith(self._before) and data.endswith(self._after)):
            return ""
        between = data[self._start : self._end]
        if b'"' in between or b"\\" in between:
            return ""
        try:
            text = between.decode()
        except UnicodeDecodeError:
            return ""
        return text if text.isprintable() else ""  # no line break, and nothing that JSON must escape
