"""A connection of HTTP/2 in memory: the peer sends bytes and gets a list of frames."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import NamedTuple

from headwater_server.transport.http2.connection import Connection
from headwater_server.transport.http2.frames import (
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PREFACE,
    FrameReader,
    frame,
    settings,
)
from headwater_server.transport.http2.headers import Fields, literal
from headwater_server.transport.http2.limits import Limits
from headwater_server.transport.http2.stream import Stream

REQUEST = (
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/test.Service/Echo"),
    (b":authority", b"localhost"),
    (b"content-type", b"application/grpc"),
    (b"te", b"trailers"),
)


class Got(NamedTuple):
    """A frame that the peer has got."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def number(self) -> int:
        """The last number in it: the code of an RST_STREAM or GOAWAY, the step of a WINDOW_UPDATE."""
        return int(struct.unpack(">I", self.payload[4:8] if self.kind == 7 else self.payload[:4])[0])


class User:
    """Notes what happens to a stream."""

    def __init__(self) -> None:
        self.data = b""
        self.notes: list[str] = []
        self.on_writable: Callable[[], None] = lambda: None

    def received(self, data: bytes) -> None:
        self.data += data

    def ended(self) -> None:
        self.notes.append("ended")

    def was_reset(self) -> None:
        self.notes.append("reset")

    def writable(self) -> None:
        self.notes.append("writable")
        self.on_writable()


class Peer:
    """A client, and the server's side of its connection.

    Args:
        limits: of the server.
        begins: whether it sends the preface and its settings.

    Attributes:
        streams: that the server has seen, by number.
        users: of these.
        fields: of these.
        got: the frames that came, without those of the beginning.
        is_closed: whether the server has closed the connection.
        held: the bytes that wait for it.
        now: the time.
    """

    def __init__(self, limits: Limits | None = None, *, begins: bool = True) -> None:
        self.streams: dict[int, Stream] = {}
        self.users: dict[int, User] = {}
        self.fields: dict[int, Fields] = {}
        self.is_closed = False
        self.held = 0
        self.now = 0.0
        self._bytes = b""
        self.written = 0
        self.connection = Connection(self, self._accept, limits or Limits(), lambda: self.now)
        self.connection.begin()
        if begins:
            self.connection.receive(PREFACE + settings(()))
        _ = self.got

    def write(self, data: bytes) -> None:
        assert not self.is_closed
        self.written += len(data)
        self._bytes += data

    def flush(self) -> None:
        """Does nothing: all was taken by `write`."""

    gather = send_gathered = flush

    def hold(self, step: int) -> None:
        self.held += step
        assert self.held >= 0

    def close(self) -> None:
        self.is_closed = True

    def _accept(self, stream: Stream, fields: Fields) -> None:
        self.streams[stream.id] = stream
        self.fields[stream.id] = fields
        stream.user = self.users[stream.id] = User()

    def send(self, kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> None:
        """Sends a frame."""
        self.connection.receive(frame(kind, flags, stream, payload))

    def open(self, stream: int = 1, *, ends: bool = False, fields: Iterable[tuple[bytes, bytes]] = REQUEST) -> None:
        """Sends the headers of a request."""
        self.send(HEADERS, END_HEADERS | (END_STREAM if ends else 0), stream, block(fields))

    @property
    def got(self) -> list[Got]:
        """The frames that have come since the last look."""
        frames = [Got(*found) for found in FrameReader().read(self._bytes)]
        self._bytes = b""
        return frames


def prefixed(message: bytes) -> bytes:
    """A message as a call sends it."""
    return struct.pack(">BI", 0, len(message)) + message


def block(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A header block without compression."""
    return b"".join(literal(name, value) for name, value in fields)
