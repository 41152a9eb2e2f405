"""Requests of up to 32 MiB: made into JSON and sent in pieces, so that other callers are served between two of them.

Escaping a text of 30 MB can last 0.3 s, and nothing else runs meanwhile, on whichever thread it is. So a large
request is encoded on a thread, each long text by itself and piece by piece:

    {"messages": [{"content": "…30 MB…"}]}    120 pieces of 256 Ki characters, each some milliseconds, then the whole

Of control characters each takes six bytes, so 30 MB would become 180. A request that grows so is refused.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec

from headwater_server.domain.errors import invalid

LARGE_BYTES = 1024 * 1024
"""A request with more bytes is encoded on a thread, and sent in pieces."""

MAX_GROWTH = 2
"""Long texts may take so many times their bytes as JSON, as those of quotes and line ends do."""

_LONG = 4096
_PIECE = 256 * 1024
_FREE_BYTES = 1024 * 1024


def encode_large(body: dict[str, Any]) -> bytes:
    """Returns the body as JSON. For a thread. Raises HeadwaterError (INVALID_REQUEST) for one that grows too much."""
    return msgspec.json.encode(_Texts().replaced(body))


class _Texts:
    """Encodes the long texts of one body."""

    def __init__(self) -> None:
        self._grown = -_FREE_BYTES

    def replaced(self, value: Any) -> Any:
        """Returns the value with its long texts as JSON."""
        if isinstance(value, str):
            return value if len(value) <= _LONG else self._encoded(value)
        if isinstance(value, dict):
            return {key: self.replaced(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.replaced(item) for item in value]
        return value

    def _encoded(self, text: str) -> msgspec.Raw:
        pieces = [b'"']
        for start in range(0, len(text), _PIECE):
            piece = text[start : start + _PIECE]
            encoded = msgspec.json.encode(piece)[1:-1]
            pieces.append(encoded)
            self._grown += len(encoded) - MAX_GROWTH * (len(piece) if piece.isascii() else len(piece.encode()))
            if self._grown > 0:
                what = "have too many control characters, of which each takes six bytes as JSON; send text"
                raise invalid("messages", what)
        pieces.append(b'"')
        return msgspec.Raw(b"".join(pieces))


class Pieces(httpx.AsyncByteStream):
    """A body that is sent piece by piece; as often as it is asked for."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yields the pieces."""
        for start in range(0, len(self._body), _PIECE):
            yield self._body[start : start + _PIECE]
