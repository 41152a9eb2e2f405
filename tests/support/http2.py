"""Frames of HTTP/2 as no client library sends them, and the server's answers to them."""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
END_STREAM, END_HEADERS, ACK = 1, 4, 1
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

_STATUS = re.compile(rb"grpc-status[\x01\x02](\d{1,2})")


@dataclass(frozen=True, slots=True)
class End:
    """How the server has ended a call.

    Attributes:
        how: `status`, `reset`, `goaway` or `closed`.
        code: the gRPC status, where there is one.
    """

    how: str
    code: int | None = None


class Connection:
    """A connection whose frames the test makes, from `with` to the end of its block.

    Args:
        target: the server's address.
        settings: pairs of a setting's id and its value.
    """

    def __init__(self, target: str, settings: Sequence[tuple[int, int]] = ()) -> None:
        host, _, port = target.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=10)
        self._socket.sendall(PREFACE)
        self.send(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *setting) for setting in settings))

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """Sends a frame."""
        self._socket.sendall(
            struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload
        )

    def call(self, headers: Sequence[tuple[bytes, bytes]], data: bytes | None, stream: int = 1) -> None:
        """Sends a call, whole; with None for data it ends with its headers."""
        block = b"".join(b"\x00" + _text(name) + _text(value) for name, value in headers)
        self.send(HEADERS, END_HEADERS | (END_STREAM if data is None else 0), stream, block)
        if data is not None:
            self.send(DATA, END_STREAM, stream, data)

    def end(self, stream: int = 1) -> End:
        """Reads until the server has ended the call, or the connection."""
        code = None
        while (frame := self._read()) is not None:
            kind, flags, of, payload = frame
            if kind == SETTINGS and not flags & ACK:
                self.send(SETTINGS, ACK, 0, b"")
            elif kind == PING and not flags & ACK:
                self.send(PING, ACK, 0, payload)
            elif kind == GOAWAY:
                return End("goaway", code)
            elif of == stream and kind == RST_STREAM:
                return End("reset", code)
            elif of == stream and kind in (HEADERS, DATA):
                if found := _STATUS.search(payload):
                    code = int(found[1])
                if flags & END_STREAM:
                    return End("status", code)
        return End("closed", code)

    def _read(self) -> tuple[int, int, int, bytes] | None:
        head = self._exactly(9)
        if head is None:
            return None
        payload = self._exactly(int.from_bytes(head[:3]))
        return None if payload is None else (head[3], head[4], int.from_bytes(head[5:9]), payload)

    def _exactly(self, count: int) -> bytes | None:
        got = b""
        while len(got) < count:
            try:
                more = self._socket.recv(count - len(got))
            except ConnectionError:
                return None
            if not more:
                return None
            got += more
        return got


def _text(value: bytes) -> bytes:
    """A string of HPACK, without Huffman codes."""
    length = len(value)
    if length < 127:
        return bytes([length]) + value
    length -= 127
    coded = bytearray([127])
    while length >= 128:
        coded.append(length % 128 | 128)
        length //= 128
    coded.append(length)
    return bytes(coded) + value


def message(payload: bytes, flag: int = 0, length: int | None = None) -> bytes:
    """A message of gRPC on the wire; with a wrong flag or length where they are given."""
    return bytes([flag]) + struct.pack(">I", len(payload) if length is None else length) + payload
