"""Header blocks: their compression, and what a request's may contain (RFC 7541; RFC 9113, 8).

Theory of operation. A compressed block refers to a table that the blocks before it have filled, so each block of a
connection must be decoded, in order, also one that is refused. Callers of gRPC send the same few blocks again and
again: when a block has left the table as it was, its bytes mean the same the next time, while the table stands
still. So the fields of such blocks are kept, and the costly decoding is left out.

Blocks that are sent have no state: each field stands there literally, and is not to be put into the peer's table.

Worked example. A caller's first block adds `:path` and `user-agent` to the table: it is decoded, and nothing is kept.
Its second call is the block `83 86 c0 be`, four references: it is decoded, the table is as before, and it is kept. The
third call has the same four bytes and is not decoded. A call with a new header changes the table: all that was kept
may now mean something else, and is forgotten.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from functools import cached_property
from typing import Any

from hpack import Decoder
from hpack.exceptions import HPACKError, OversizedHeaderListError

from headwater_server.transport.http2.frames import ConnectionFaultError, ErrorCode, StreamFaultError

MOST_KEPT = 8
"""Blocks of a connection that are kept decoded."""
MOST_KEPT_BYTES = 4096
MOST_KEPT_FIELDS = 32
"""Longer blocks are not kept: thousands of connections would hold them."""
MOST_FIELDS = 300
"""Fields of a block. Each costs some microseconds, and each literal one as much again for all bytes that follow it."""
FIELD_BYTES = 32
"""The cost of a field beside its name and value (RFC 9113, 6.5.2)."""


class Fields(tuple[tuple[bytes, bytes], ...]):
    """The fields of a header block. Those of a kept block are used again and again, with all that is noted here.

    Attributes:
        is_request: whether they were found to make one.
        note: the reading of their user.
    """

    is_request = False
    note: Any = None

    @cached_property
    def size(self) -> int:
        """Their size, as HTTP/2 counts it."""
        return size_of(self)

    @cached_property
    def content_length(self) -> int | None:
        """How much content they announce; None: they do not say. Raises StreamFaultError."""
        found: int | None = None
        for name, value in self:
            if name == b"content-length":
                if not value.isdigit() or len(value) > 19:
                    raise StreamFaultError(ErrorCode.PROTOCOL_ERROR, "the length of the content is no number")
                if found not in (None, int(value)):
                    raise StreamFaultError(ErrorCode.PROTOCOL_ERROR, "the content has two lengths")
                found = int(value)
        return found


_PSEUDO = frozenset((b":method", b":scheme", b":authority", b":path"))
_NEEDED = frozenset((b":method", b":scheme", b":path"))
_NAME = re.compile(rb"[!-9;-@\[-~]+")  # no upper case, no colon, no space
_OF_CONNECTIONS = frozenset((b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"))

SHORT = 127
"""The length of a shorter text has one byte."""
SIZES = [bytes((size,)) for size in range(SHORT)]
"""These lengths."""

logging.getLogger("hpack").setLevel(logging.WARNING)  # at level debug it writes all that callers send


class HeaderReader:
    """Decodes the header blocks of one connection.

    Args:
        most_bytes: of the fields of one block; beyond it the connection ends, so it is more than a call may have.
    """

    def __init__(self, most_bytes: int) -> None:
        self._decoder = Decoder(max_header_list_size=most_bytes)
        self._kept: dict[bytes, Fields] = {}

    def read(self, block: bytes) -> Fields:
        """The fields of a block. Raises ConnectionFaultError: the table is lost then."""
        kept = self._kept.get(block)
        if kept is not None:
            return kept
        if len(block) > MOST_FIELDS:  # a field has a byte at least
            _check_count(block)
        entries = self._decoder.header_table.dynamic_entries
        count, newest = len(entries), entries[0] if entries else None
        try:
            fields = Fields((bytes(name), bytes(value)) for name, value in self._decoder.decode(block, raw=True))
        except OversizedHeaderListError:
            raise ConnectionFaultError(ErrorCode.ENHANCE_YOUR_CALM, "the headers are too large") from None
        except (HPACKError, IndexError, ValueError):
            raise ConnectionFaultError(ErrorCode.COMPRESSION_ERROR, "the headers cannot be decoded") from None
        if count != len(entries) or (entries and entries[0] is not newest):
            self._kept.clear()
        elif (
            len(self._kept) < MOST_KEPT
            and 0 < len(block) <= MOST_KEPT_BYTES
            and len(fields) <= MOST_KEPT_FIELDS
            and block[0] >> 5 != 1  # that is a new size for the table
        ):
            self._kept[block] = fields
        return fields


def _check_count(block: bytes) -> None:
    """Raises ConnectionFaultError for a block with too many fields; does not look into them."""
    at = count = 0
    try:
        while at < len(block):
            count += 1
            if count > MOST_FIELDS:
                raise ConnectionFaultError(ErrorCode.ENHANCE_YOUR_CALM, "a header block has too many fields")
            first = block[at]
            bits = 7 if first & 0x80 else 6 if first & 0x40 else 5 if first & 0x20 else 4
            index, at = _integer(block, at, bits)
            if bits in (6, 4):
                for _ in range(1 if index else 2):  # the value, and a name that is in no table
                    length, at = _integer(block, at, 7)
                    at += length
    except IndexError:
        pass  # the block ends too early, which its decoder will say


def _integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    """A number of HPACK, and the position behind it (RFC 7541, 5.1). Raises IndexError."""
    most = (1 << bits) - 1
    value, at = block[at] & most, at + 1
    if value == most:
        shift = 0
        while True:
            byte, at = block[at], at + 1
            value += (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
            if shift > 28:
                raise IndexError
    return value, at


def literal(name: bytes, value: bytes) -> bytes:
    """A field that stands in its block as it is."""
    size, length = len(name), len(value)
    if size < SHORT and length < SHORT:
        return b"\x00%b%b%b%b" % (SIZES[size], name, SIZES[length], value)
    return b"\x00" + _length(size) + name + _length(length) + value


def _length(size: int) -> bytes:
    if size < SHORT:
        return SIZES[size]
    size -= 127
    coded = bytearray((127,))
    while size > 127:
        coded.append(size & 127 | 128)
        size >>= 7
    coded.append(size)
    return bytes(coded)


def size_of(fields: Iterable[tuple[bytes, bytes]]) -> int:
    """The size of a list of fields, as HTTP/2 counts it."""
    return sum(len(name) + len(value) + FIELD_BYTES for name, value in fields)


def check_request(fields: Fields) -> None:
    """Raises StreamFaultError for fields that make no request."""
    found = set()
    is_regular = False
    for name, value in fields:
        if name[:1] == b":":
            if is_regular or name in found or name not in _PSEUDO:
                raise StreamFaultError(ErrorCode.PROTOCOL_ERROR, "a pseudo-header is out of its place")
            found.add(name)
            _check_value(value)
        else:
            is_regular = True
            _check_regular(name, value)
        if name == b":path" and not value:
            raise StreamFaultError(ErrorCode.PROTOCOL_ERROR, "the path is empty")
    if not found >= _NEEDED:
        raise StreamFaultError(ErrorCode.PROTOCOL_ERROR, "a pseudo-header is missing")
    fields.is_request = True


def check_trailers(fields: Fields) -> None:
    """Raises StreamFaultError for fields that cannot end a request."""
    for name, value in fields:
        if name[:1] == b":":
            raise StreamFaultError(ErrorCode.PROTOCOL_ERROR, "a pseudo-header is among the trailers")
        _check_regular(name, value)


def _check_regular(name: bytes, value: bytes) -> None:
    if not _NAME.fullmatch(name):
        raise StreamFaultError(ErrorCode.PROTOCOL_ERROR, "the name of a header is not in lower case")
    if name in _OF_CONNECTIONS or (name == b"te" and value != b"trailers"):
        raise StreamFaultError(ErrorCode.PROTOCOL_ERROR, "a header belongs to connections of HTTP/1.1")
    _check_value(value)


def _check_value(value: bytes) -> None:
    if b"\n" in value or b"\r" in value or b"\0" in value:
        raise StreamFaultError(ErrorCode.PROTOCOL_ERROR, "a value has a line break or NUL")
