"""The messages of a call among the bytes of its stream.

A message is a flag, its length in four bytes, and itself; flag 1 means that it is compressed. The length comes first,
so a message that is too long is refused before any of it is stored. A compressed one stays so until its handler asks
for it (`unpacking`).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import grpc

PREFIX = struct.Struct(">BI")
"""Before each message: whether it is compressed, and its length."""
PREFIX_BYTES = 5
WINDOW_BITS = {"gzip": 31, "deflate": 15}
ENCODINGS = ("identity", *WINDOW_BITS)
"""How a message may be encoded."""


class Packed(bytes):
    """A message that is compressed."""


class RefusedError(Exception):
    """A call must end with this status.

    Args:
        code: of the status.
        message: of the status, for people.
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class MessageReader:
    """Finds the messages of one call.

    Args:
        most_bytes: of a message; 0: no limit.
        encoding: one of ENCODINGS, for messages with flag 1.

    Attributes:
        held: the bytes of a message that has begun.
        missing: how many bytes the message that has begun needs yet; 0 when none has, or its length is not known.
    """

    __slots__ = ("_buffer", "_encoding", "_most", "_needed", "held", "missing")

    def __init__(self, most_bytes: int, encoding: str) -> None:
        self._most = most_bytes
        self._encoding = encoding
        self._buffer: bytearray | None = None
        self._needed = PREFIX_BYTES
        self.held = self.missing = 0

    def read(self, data: bytes) -> Sequence[bytes]:
        """The messages that are whole now. Raises RefusedError."""
        if self._buffer is None and len(data) >= PREFIX_BYTES:  # one message in one piece, as nearly all requests are
            flag, length = PREFIX.unpack_from(data)
            if not flag and len(data) == PREFIX_BYTES + length and (not self._most or length <= self._most):
                return (data[PREFIX_BYTES:],)
        whole: bytes | bytearray = data
        if self._buffer is not None:
            self._buffer += data
            whole = self._buffer
        size = len(whole)
        if size < self._needed:
            self._keep(whole, 0)
            return ()
        found: list[bytes] = []
        at = 0
        while True:
            if size - at < PREFIX_BYTES:
                self._needed = PREFIX_BYTES
                break
            flag, length = PREFIX.unpack_from(whole, at)
            self._check(flag, length)
            self._needed = PREFIX_BYTES + length
            if size - at < self._needed:
                break
            message = memoryview(whole)[at + PREFIX_BYTES : at + self._needed]
            found.append(Packed(message) if flag else bytes(message))
            at += self._needed
        if at < size or self._buffer is not None:
            self._keep(whole, at)
        return found

    def _keep(self, whole: bytes | bytearray, at: int) -> None:
        """Keeps the beginning of a message; a new buffer gives the memory of a large one back."""
        if at or self._buffer is None:
            self._buffer = bytearray(memoryview(whole)[at:]) if at < len(whole) else None
        self.held = held = len(self._buffer) if self._buffer else 0
        self.missing = self._needed - held if held >= PREFIX_BYTES else 0

    def _check(self, flag: int, length: int) -> None:
        if self._most and length > self._most:
            # The sentence is the one of gRPC's own servers: there are programs that look for it.
            why = f"SERVER: Received message larger than max ({length} vs. {self._most})"
            raise RefusedError(grpc.StatusCode.RESOURCE_EXHAUSTED, why)
        if flag > 1:
            raise RefusedError(grpc.StatusCode.INTERNAL, f"a message begins with {flag}, which has no meaning")
        if flag and self._encoding not in WINDOW_BITS:
            raise RefusedError(grpc.StatusCode.INTERNAL, "a message is compressed, and grpc-encoding does not say how")
