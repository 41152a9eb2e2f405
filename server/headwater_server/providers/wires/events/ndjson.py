"""Newline-delimited JSON, sans-IO: bytes in, lines out.

Only LF ends a line, with or without a CR before it: U+0085 and its like may stand raw inside a JSON string. As in
`sse`, an unfinished line waits in pieces that are joined once. The last line needs no newline: servers answer with a
single object and no line end. Whether it was cut shows when it is parsed, for no proper prefix of a JSON object is one.
"""

from __future__ import annotations

from headwater_server.domain.errors import HeadwaterError, Reason

MAX_LINE_BYTES = 32 * 1024 * 1024
"""Most bytes in a line."""


class NDJSONDecoder:
    """Decodes one stream. A line over MAX_LINE_BYTES is a HeadwaterError, raised after the lines before it."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._too_long = False

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that these bytes complete, without line ends; blank ones are left out."""
        self._raise_if_too_long()
        first, *rest = data.split(b"\n")
        self._keep(first)
        if not rest:
            self._raise_if_too_long()
            return []
        *whole, last = rest
        lines = [line for line in [self._take(), *whole] if line and not line.isspace()]
        for number, line in enumerate(lines):
            if len(line) > MAX_LINE_BYTES:
                self._too_long = True
                del lines[number:]
                break
        self._keep(last)
        if not lines:
            self._raise_if_too_long()
        return [line.removesuffix(b"\r") for line in lines]

    def close(self) -> list[bytes]:
        """The last line, if it had no line end."""
        self._raise_if_too_long()
        last = self._take()
        return [last] if last and not last.isspace() else []

    def _keep(self, piece: bytes) -> None:
        if piece:
            self._pieces.append(piece)
            self._size += len(piece)
            self._too_long |= self._size > MAX_LINE_BYTES

    def _take(self) -> bytes:
        line = b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        return line

    def _raise_if_too_long(self) -> None:
        if self._too_long:
            raise HeadwaterError(Reason.PROVIDER_UNAVAILABLE, "The provider sent a line of more than 32 MiB")
