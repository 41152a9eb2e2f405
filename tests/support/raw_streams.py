"""A caller that speaks HTTP/2 by hand, and so can say what no library would."""

from __future__ import annotations

import socket
import struct
import time
from types import TracebackType
from typing import Self

DATA, HEADERS, RESET, SETTINGS, PING, WINDOW_UPDATE = 0, 1, 3, 4, 6, 8
END_HEADERS = ACK = 1
_INITIAL_WINDOW = 4
_LARGEST_FRAME = 16_384
_CANCEL = struct.pack(">I", 8)


class RawConnection:
    """A connection of HTTP/2, from `with` to the end of its block.

    Attributes:
        opened: how many streams were opened.
        sent: how many bytes of messages were sent.
        ended: the streams that the server has ended.
        is_closed: whether the server has closed the connection.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._address = (host, int(port))
        self.opened = self.sent = 0
        self.ended: set[int] = set()
        self.is_closed = False
        self._received = b""
        self._window = 65_535
        self._initial = 65_535
        self._windows: dict[int, int] = {}
        self._left: dict[int, int] = {}
        self._begun: set[int] = set()

    def __enter__(self) -> Self:
        self._socket = socket.create_connection(self._address, timeout=5)
        self._socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(SETTINGS, 0, 0))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._socket.close()

    def open(self, path: str, count: int, *, reset: bool = False) -> None:
        """Opens so many streams, and resets each at once if asked for."""
        head, frames = _head(path), []
        for _ in range(count):
            stream = 2 * self.opened + 1
            self.opened += 1
            self._windows[stream] = self._initial
            frames.append(_frame(HEADERS, END_HEADERS << 2, stream, head))
            if reset:
                frames.append(_frame(RESET, 0, stream, _CANCEL))
        self._send(b"".join(frames))
        self.look()

    def send_unfinished(self, size: int, seconds: float) -> None:
        """Sends on each stream a message of so many bytes but for its last one, as far as the server lets it."""
        self._left = dict.fromkeys(self._windows, size + 4)
        end = time.monotonic() + seconds
        while time.monotonic() < end and self._left and not self.is_closed:
            for stream in list(self._left):
                count = min(_LARGEST_FRAME, self._window, self._windows[stream], self._left[stream])
                if count > 5:
                    self._send_data(stream, size, count)
            self.look()

    def _send_data(self, stream: int, size: int, count: int) -> None:
        prefix = b"" if stream in self._begun else b"\0" + struct.pack(">I", size)
        self._begun.add(stream)
        self._send(_frame(DATA, 0, stream, prefix.ljust(count, b"x")))
        self._window -= count
        self._windows[stream] -= count
        self._left[stream] -= count
        self.sent += count

    def _send(self, data: bytes) -> None:
        try:
            self._socket.settimeout(5)
            self._socket.sendall(data)
        except OSError:
            self.is_closed = True

    def look(self) -> None:
        """Takes what has come, without waiting for more."""
        try:
            self._socket.settimeout(0.001)
            received = self._socket.recv(1 << 16)
            self.is_closed |= not received
            self._received += received
        except TimeoutError:
            pass
        except OSError:
            self.is_closed = True
        while len(self._received) >= 9:
            length = int.from_bytes(self._received[:3])
            if len(self._received) < 9 + length:
                break
            kind, flags = self._received[3:5]
            stream = int.from_bytes(self._received[5:9]) & 0x7FFF_FFFF
            body, self._received = self._received[9 : 9 + length], self._received[9 + length :]
            self._take(kind, flags, stream, body)

    def _take(self, kind: int, flags: int, stream: int, body: bytes) -> None:
        if kind == WINDOW_UPDATE and stream == 0:
            self._window += int.from_bytes(body)
        elif kind == WINDOW_UPDATE and stream in self._windows:
            self._windows[stream] += int.from_bytes(body)
        elif kind == SETTINGS and not flags & ACK:
            for key, value in struct.iter_unpack(">HI", body):
                if key == _INITIAL_WINDOW:
                    for each in self._windows:
                        self._windows[each] += value - self._initial
                    self._initial = value
            self._send(_frame(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            self._send(_frame(PING, ACK, 0, body))
        elif kind in (HEADERS, RESET):
            self.ended.add(stream)
            self._left.pop(stream, None)


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def _head(path: str) -> bytes:
    """The headers of a call, none of them in the table of the connection."""
    fields = (
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "x"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    )
    return b"".join(_pair(name, value) for name, value in fields)


def _pair(name: str, value: str) -> bytes:
    return b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
