"""The limits of sending to a peer: the windows of HTTP/2, and the turns of streams (RFC 9113, 5.2).

Theory of operation. A peer says by windows how many bytes it takes: one window for each stream, and one for the
connection, which all of its streams share. A stream hands over the bytes of a message at once. Where both windows and
the socket have room for them they are written in the same step, as one frame. Otherwise the stream holds them, and
takes nothing more until they are gone.

Streams that have room themselves and wait for the connection stand in a line. Each in turn sends one frame and goes
to the end of the line, so that one with a long message does not keep the others waiting. A stream whose own window
is used up is not in the line; the peer's next WINDOW_UPDATE for it puts it there.

Worked example. The connection's window is 0. Stream 1 holds 40,000 bytes, stream 3 holds 10. A WINDOW_UPDATE lets
20,000 bytes out: stream 1 sends 16,384, which is the most that a frame may have; stream 3 sends its 10; stream 1 sends
3,606, and stands in the line again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Protocol

from headwater_server.transport.http2.frames import (
    DEFAULT_WINDOW,
    ENABLE_PUSH,
    GREATEST_MAX_FRAME,
    HEADER_TABLE_SIZE,
    INITIAL_WINDOW_SIZE,
    LARGEST_WINDOW,
    LEAST_MAX_FRAME,
    MAX_FRAME_SIZE,
    MAX_HEADER_LIST_SIZE,
    ConnectionFaultError,
    ErrorCode,
    StreamFaultError,
    header_frames,
)

DEFAULT_TABLE = 4096
MOST_UNREAD_BYTES = 1024 * 1024
"""Bytes of headers and answers that may wait in a socket whose peer does not read, and yet asks for more."""
LONGEST_FRAME = 64 * 1024
"""A longer one would keep other streams waiting."""


class Wire(Protocol):
    """The socket of a connection."""

    def write(self, data: bytes) -> None:
        """Sends bytes soon; it may call `Connection.pause`."""

    def flush(self) -> None:
        """Sends now what was written."""

    def gather(self) -> None:
        """Says that `send_gathered` sends what is written from now on, before this callback ends."""

    def send_gathered(self) -> None:
        """Sends now what was written."""

    def hold(self, step: int) -> None:
        """Streams hold so many bytes more, or fewer, that the peer does not take yet."""

    def close(self) -> None:
        """Sends what was written, then closes."""


class Sender(Protocol):
    """A stream that can wait for the connection."""

    def widen(self, step: int) -> None:
        """Changes the stream's own window. Raises StreamFaultError."""

    def send_part(self) -> bool:
        """Sends a frame; whether more could be sent if the connection had room."""
        ...


class Sending:
    """The sending side of one connection.

    Args:
        wire: the socket.

    Attributes:
        window: bytes that the peer takes of all streams.
        initial: the window with which a stream begins.
        max_frame: bytes that the payload of a frame may have.
        max_header_bytes: that a list of fields may have; None: the peer has said nothing.
        paused: whether the socket takes no more now.
        waiting: the streams that wait for the connection, in their order.
        sent: how many frames with bytes of streams were sent.
        unread: bytes of headers and answers that wait in the socket, about.
    """

    __slots__ = (
        "_is_serving",
        "_prefix",
        "flush",
        "gather",
        "hold",
        "initial",
        "max_frame",
        "max_header_bytes",
        "paused",
        "send_gathered",
        "sent",
        "unread",
        "waiting",
        "window",
        "write",
    )

    def __init__(self, wire: Wire) -> None:
        self.write, self.flush, self.hold = wire.write, wire.flush, wire.hold
        self.gather, self.send_gathered = wire.gather, wire.send_gathered
        self.window = DEFAULT_WINDOW
        self.initial = DEFAULT_WINDOW
        self.max_frame = LEAST_MAX_FRAME
        self.max_header_bytes: int | None = None
        self.paused = False
        self.waiting: dict[Sender, None] = {}
        self.sent = self.unread = 0
        self._prefix = b""
        self._is_serving = False

    def headers(self, stream: int, block: bytes, *, ends: bool) -> None:
        """Sends a header block."""
        if self._prefix:
            block, self._prefix = self._prefix + block, b""
        frames = header_frames(stream, block, self.max_frame, ends=ends)
        if self.paused:
            self.unread += len(frames)
        self.write(frames)

    def answer(self, answer: bytes) -> None:
        """Sends bytes for which there is no window, and counts them while the peer does not read."""
        if self.paused:
            self.unread += len(answer)
        self.write(answer)

    def check_unread(self) -> None:
        """Raises ConnectionFaultError where the peer reads too little for another answer."""
        if self.unread > MOST_UNREAD_BYTES:
            raise ConnectionFaultError(ErrorCode.ENHANCE_YOUR_CALM, "the answers are not read")

    def obey(self, pairs: Iterable[tuple[int, int]], streams: Collection[Sender]) -> None:
        """Obeys the settings of a frame; the windows of all streams are changed once. Raises ConnectionFaultError."""
        initial = self.initial
        for key, value in pairs:
            if key != INITIAL_WINDOW_SIZE:
                self._set(key, value)
            elif value > LARGEST_WINDOW:
                raise ConnectionFaultError(ErrorCode.FLOW_CONTROL_ERROR, "the initial window is too large")
            else:
                initial = value
        step, self.initial = initial - self.initial, initial
        try:
            for stream in list(streams) if step else ():
                stream.widen(step)
        except StreamFaultError as fault:
            raise ConnectionFaultError(fault.code, str(fault)) from None

    def _set(self, key: int, value: int) -> None:
        if key == MAX_FRAME_SIZE:
            if not LEAST_MAX_FRAME <= value <= GREATEST_MAX_FRAME:
                raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "the size of a frame is out of its bounds")
            self.max_frame = min(value, LONGEST_FRAME)
        elif key == MAX_HEADER_LIST_SIZE:
            self.max_header_bytes = value
        elif key == HEADER_TABLE_SIZE and value < DEFAULT_TABLE:
            self._prefix = (
                b"\x20"  # the next block must say that the table is smaller: it has no entries (RFC 7541, 4.2)
            )
        elif key == ENABLE_PUSH and value > 1:
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "ENABLE_PUSH is 0 or 1")

    def widen(self, step: int) -> None:
        """The peer takes so many bytes more. Raises ConnectionFaultError."""
        if not step:
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "a window cannot grow by 0")
        self.window += step
        if self.window > LARGEST_WINDOW:
            raise ConnectionFaultError(ErrorCode.FLOW_CONTROL_ERROR, "the window of the connection is too large")
        self.serve()

    def resume(self) -> None:
        """The socket has room again."""
        self.paused = False
        self.unread = 0
        self.serve()

    def serve(self) -> None:
        """Lets the streams in the line send, one frame each in turn, while there is room."""
        if self._is_serving:
            return  # a stream has sent again in its turn; it gets another
        self._is_serving = True
        try:
            self._serve(self.waiting)
        finally:
            self._is_serving = False

    def _serve(self, waiting: dict[Sender, None]) -> None:
        while waiting and self.window > 0 and not self.paused:
            stream = next(iter(waiting))
            del waiting[stream]
            if stream.send_part():
                waiting[stream] = None
