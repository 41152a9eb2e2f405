"""The frames of HTTP/2 as bytes: how they are split, and how they are made (RFC 9113, 4 and 6)."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from enum import IntEnum

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""The first bytes of each client."""

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
HAS_PRIORITY = 0x20

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = (
    range(1, 7)
)

LARGEST_WINDOW = LAST_ID = 2**31 - 1
DEFAULT_WINDOW = 65_535
LEAST_MAX_FRAME = 16_384
GREATEST_MAX_FRAME = 2**24 - 1

HEAD = struct.Struct(">HBBBI")
"""The head of a frame: the upper 16 bits of its length, the lower 8, type, flags, stream."""
_U32 = struct.Struct(">I")
_SETTING = struct.Struct(">HI")

Frame = tuple[int, int, int, bytes]
"""Type, flags, stream and payload."""


class ErrorCode(IntEnum):
    """The reasons for which a stream or a connection ends (RFC 9113, 7)."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    ENHANCE_YOUR_CALM = 0xB


class ConnectionFaultError(Exception):
    """The peer has broken the protocol so that the connection must end.

    Args:
        code: the reason to send.
        why: for people, in the GOAWAY frame.
    """

    def __init__(self, code: ErrorCode, why: str) -> None:
        super().__init__(why)
        self.code = code
        self.why = why


class StreamFaultError(Exception):
    """The peer has broken the protocol on one stream, which must end.

    Args:
        code: the reason to send.
        why: for people.
    """

    def __init__(self, code: ErrorCode, why: str) -> None:
        super().__init__(why)
        self.code = code


class FrameReader:
    """Splits the bytes of a peer into frames; keeps the beginning of one that is not there whole.

    Attributes:
        count: how many frames were whole so far.
    """

    def __init__(self) -> None:
        self._rest = b""
        self.count = 0

    @property
    def is_inside(self) -> bool:
        """Whether a frame has begun whose end is missing."""
        return bool(self._rest)

    def read(self, data: bytes) -> Iterator[Frame]:
        """The frames that are whole now. Raises ConnectionFaultError for one that is too long."""
        if self._rest:
            data = self._rest + data
        at, end = 0, len(data)
        self._rest = b""
        while end - at >= 9:
            high, low, kind, flags, stream = HEAD.unpack_from(data, at)
            size = high << 8 | low
            if size > LEAST_MAX_FRAME:
                raise ConnectionFaultError(ErrorCode.FRAME_SIZE_ERROR, f"a frame has {size} bytes")
            if end - at < 9 + size:
                break
            at += 9
            payload = data[at : at + size]
            at += size
            self.count += 1
            yield kind, flags, stream & LAST_ID, payload
        self._rest = data[at:]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame."""
    size = len(payload)
    return HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream) + payload


def data_head(size: int, stream: int) -> bytes:
    """The head of a frame of DATA with so many bytes."""
    return HEAD.pack(size >> 8, size & 0xFF, DATA, 0, stream)


def header_frames(stream: int, block: bytes, max_frame: int, *, ends: bool) -> bytes:
    """The frames of a header block, several where it is longer than a frame may be."""
    flags = END_STREAM if ends else 0
    if len(block) <= max_frame:
        size = len(block)  # not by `frame`: each call has two of these
        return HEAD.pack(size >> 8, size & 0xFF, HEADERS, flags | END_HEADERS, stream) + block
    parts = [block[at : at + max_frame] for at in range(0, len(block), max_frame)]
    middle = [frame(CONTINUATION, 0, stream, part) for part in parts[1:-1]]
    last = frame(CONTINUATION, END_HEADERS, stream, parts[-1])
    return b"".join([frame(HEADERS, flags, stream, parts[0]), *middle, last])


def settings(pairs: Iterable[tuple[int, int]]) -> bytes:
    """A frame of SETTINGS."""
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(key, value) for key, value in pairs))


def window_update(stream: int, step: int) -> bytes:
    """A frame that lets the peer send so many bytes more; stream 0 is the connection."""
    return frame(WINDOW_UPDATE, 0, stream, _U32.pack(step))


def rst_stream(stream: int, code: ErrorCode) -> bytes:
    """A frame that ends a stream at once."""
    return frame(RST_STREAM, 0, stream, _U32.pack(code))


def goaway(last: int, code: ErrorCode, why: str = "") -> bytes:
    """A frame that ends the connection: streams beyond `last` were not and will not be looked at."""
    return frame(GOAWAY, 0, 0, struct.pack(">II", last, code) + why.encode())


def unpadded(flags: int, payload: bytes) -> bytes:
    """The payload without its padding. Raises ConnectionFaultError for padding that is longer than the frame."""
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "the padding is longer than its frame")
    return payload[1 : len(payload) - payload[0]]


def number(payload: bytes) -> int:
    """The one number of a RST_STREAM or WINDOW_UPDATE frame. Raises ConnectionFaultError for another length."""
    if len(payload) != 4:
        raise ConnectionFaultError(ErrorCode.FRAME_SIZE_ERROR, "the frame must have 4 bytes")
    value: int = _U32.unpack(payload)[0]
    return value


def setting_pairs(payload: bytes) -> list[tuple[int, int]]:
    """The settings of a frame. Raises ConnectionFaultError for a length that is no multiple of 6."""
    if len(payload) % 6:
        raise ConnectionFaultError(ErrorCode.FRAME_SIZE_ERROR, "a setting has 6 bytes")
    return list(_SETTING.iter_unpack(payload))
