"""Tells where a JSON value that comes in pieces is complete, without parsing it: by its brackets.

A text is cut at its quotes, so every second part is a string, and in the others the brackets are counted:
`{"a}": [1]}` is cut into `{`, `a}` and `: [1]}`. No step is made for each character, so a large text costs little.
"""

from __future__ import annotations

_PIECE = 64 * 1024


class JSONScanner:
    """Counts the brackets of one object or list.

    Attributes:
        began: whether anything but white space has come.
        complete: whether as many brackets have closed as have opened, at least one.
    """

    def __init__(self) -> None:
        self.began = False
        self.complete = False
        self._depth = 0
        self._in_string = False
        self._escaped = False

    def feed(self, text: str) -> None:
        """Reads the next piece."""
        if not self.began:
            text = text.lstrip()
            self.began = bool(text)
        if len(text) <= _PIECE:
            self._read(text)
            return
        for start in range(0, len(text), _PIECE):
            self._read(text[start : start + _PIECE])

    def _read(self, text: str) -> None:
        if self._escaped:
            text, self._escaped = text[1:], False
        if "\\" in text:
            text = text.replace("\\\\", "").replace('\\"', "")
            self._escaped = text.endswith("\\")
        if '"' in text:
            parts = text.split('"')
            outside = "".join(parts[int(self._in_string) :: 2])
            self._in_string ^= len(parts) % 2 == 0
        elif self._in_string:
            return
        else:
            outside = text
        closed = outside.count("}") + outside.count("]")
        if closed:
            last = max(outside.rfind("}"), outside.rfind("]"))
            within = outside[:last]
            self.complete = self._depth + within.count("{") + within.count("[") == closed
        self._depth += outside.count("{") + outside.count("[") - closed
