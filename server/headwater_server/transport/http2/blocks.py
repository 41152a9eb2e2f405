"""Header blocks as they come: in one frame, or begun by HEADERS and continued (RFC 9113, 6.2 and 6.10)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from headwater_server.transport.http2.frames import (
    END_HEADERS,
    END_STREAM,
    HAS_PRIORITY,
    LARGEST_WINDOW,
    PADDED,
    ConnectionFaultError,
    ErrorCode,
    unpadded,
)
from headwater_server.transport.http2.headers import Fields, HeaderReader

MOST_CONTINUATIONS = 64


@dataclass(slots=True)
class _Open:
    """A block that has not ended."""

    id: int
    ends: bool
    parts: list[bytes]
    size: int


class BlockReader:
    """Puts the blocks of one connection together and decodes them.

    Args:
        most_bytes: of the fields that a call may have. A block may decode to four times as much, so that its call can
            be refused in order; a larger one ends the connection.
        now: the time in seconds.

    Attributes:
        since: when the block began that has not ended; None: there is none.
    """

    def __init__(self, most_bytes: int, now: Callable[[], float]) -> None:
        self._headers = HeaderReader(4 * most_bytes)
        self._most = 2 * most_bytes
        self._now = now
        self._open: _Open | None = None
        self.since: float | None = None

    def continues(self, id: int) -> bool:
        """Whether a block of this stream has not ended."""
        return self._open is not None and self._open.id == id

    def begin(self, flags: int, id: int, payload: bytes) -> tuple[bool, Fields] | None:
        """A frame of HEADERS: whether it ends its stream, and the fields; None while the block has not ended.

        Raises ConnectionFaultError.
        """
        part = unpadded(flags, payload) if flags & PADDED else payload
        if flags & HAS_PRIORITY:
            if len(part) < 5:
                raise ConnectionFaultError(ErrorCode.FRAME_SIZE_ERROR, "the priority is not whole")
            check_parent(id, part)
            part = part[5:]
        ends = bool(flags & END_STREAM)
        if flags & END_HEADERS:
            return ends, self._headers.read(part)
        self._open, self.since = _Open(id, ends, [part], len(part)), self._now()
        return None

    def extend(self, flags: int, payload: bytes) -> tuple[bool, Fields] | None:
        """A frame of CONTINUATION; see `begin`."""
        block = self._open
        if block is None:
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "there is no header block to continue")
        block.parts.append(payload)
        block.size += len(payload)
        if len(block.parts) > MOST_CONTINUATIONS or block.size > self._most:
            raise ConnectionFaultError(ErrorCode.ENHANCE_YOUR_CALM, "the header block is too long")
        if not flags & END_HEADERS:
            return None
        self._open = self.since = None
        return block.ends, self._headers.read(b"".join(block.parts))


def check_parent(id: int, payload: bytes) -> None:
    """Raises ConnectionFaultError for a stream that depends on itself."""
    if int.from_bytes(payload[:4]) & LARGEST_WINDOW == id:
        raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "a stream cannot depend on itself")
