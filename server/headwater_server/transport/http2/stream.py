"""One stream of a connection: its state, what it sends, and how much its peer may send (RFC 9113, 5)."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Protocol

from headwater_server.transport.http2.frames import (
    DATA,
    HEAD,
    LARGEST_WINDOW,
    ErrorCode,
    StreamFaultError,
    data_head,
    rst_stream,
    window_update,
)
from headwater_server.transport.http2.sending import Sending

WINDOW = 64 * 1024
"""Bytes that the peer may send on a stream before any are taken."""
STEP = WINDOW // 2
"""The window is made wider by so much at least, so that not each message costs a frame more."""


class Sent(Enum):
    """Whether bytes were taken to be sent."""

    SENT = auto()
    """They were: they are on their way, or are held until there is room."""
    FULL = auto()
    """They were not: others are held. The user of the stream is called when these have gone."""
    CLOSED = auto()
    """They were not: the stream has ended."""


_pack_head = HEAD.pack
# A member is looked up by a property of its class, which takes as long as a call.
_SENT, _FULL, _CLOSED = Sent.SENT, Sent.FULL, Sent.CLOSED


class User(Protocol):
    """The user of a stream. None of its methods may raise."""

    def received(self, data: bytes) -> None:
        """Bytes have come."""

    def ended(self) -> None:
        """The peer has sent all."""

    def was_reset(self) -> None:
        """The stream is over, because the peer or the connection has gone."""

    def writable(self) -> None:
        """All that was held has gone."""


class Stream:
    """A stream that the peer has opened.

    Args:
        id: its number.
        sending: of its connection.
        is_over: called with the stream when it is over on both sides.
        ends: whether the peer sends no more.

    Attributes:
        user: its user.
        window: bytes that the peer takes.
        room: bytes that the peer may send.
        peer_ended: whether the peer has sent all.
        over: whether it has ended.
        answered: whether bytes of an answer were sent.
        content_left: bytes of content that the peer has announced and not sent; None: it has announced none.
    """

    __slots__ = (
        "_held",
        "_is_over",
        "_sending",
        "_trailers",
        "answered",
        "content_left",
        "id",
        "over",
        "peer_ended",
        "room",
        "user",
        "window",
    )

    def __init__(self, id: int, sending: Sending, is_over: Callable[[Stream], None], ends: bool) -> None:
        self.id = id
        self.window = sending.initial
        self.room = WINDOW
        self.peer_ended = ends
        self.over = False
        self.answered = False
        self.content_left: int | None = None
        self.user: User | None = None
        self._sending = sending
        self._is_over = is_over
        self._held: bytes | memoryview = b""
        self._trailers: bytes | None = None

    # --- to the peer

    @property
    def is_full(self) -> bool:
        """Whether `send` would take nothing."""
        return bool(self._held)

    @property
    def held(self) -> int:
        """Bytes that wait until the peer takes them."""
        return len(self._held)

    @property
    def most_header_bytes(self) -> int | None:
        """The bytes that headers or trailers may have; None: the peer has not said."""
        return self._sending.max_header_bytes

    def send_headers(self, block: bytes) -> None:
        """Sends the first headers, or those of an interim answer."""
        if not self.over:
            self._sending.headers(self.id, block, ends=False)

    def send(self, data: bytes) -> Sent:
        """Sends bytes, at once or when there is room; they are not empty."""
        if self.over or self._trailers is not None:
            return _CLOSED
        if self._held:
            return _FULL
        sending, size = self._sending, len(data)
        self.answered = True
        if (
            size <= self.window
            and size <= sending.window
            and size <= sending.max_frame
            and not sending.paused
            and not sending.waiting
        ):
            self.window -= size
            sending.window -= size
            sending.sent += 1
            sending.write(_pack_head(size >> 8, size & 0xFF, DATA, 0, self.id) + data)
            return _SENT
        self._held = memoryview(data)
        sending.hold(size)
        self._stand_in_line()
        return _SENT

    def flush(self) -> None:
        """Sends now what would go out at the end of this round of the event loop."""
        self._sending.flush()

    def gather(self) -> None:
        """Says that `send_gathered` sends what is written from now on, before this callback ends."""
        self._sending.gather()

    def send_gathered(self) -> None:
        """Sends now what was written."""
        self._sending.send_gathered()

    def finish(self, block: bytes) -> None:
        """Ends the stream with these headers or trailers, after all that was sent."""
        if self.over or self._trailers is not None:
            return
        self._trailers = block
        if not self._held:
            self._send_trailers()

    def _send_trailers(self) -> None:
        assert self._trailers is not None  # noqa: S101
        self._sending.headers(self.id, self._trailers, ends=True)
        self._sending.flush()
        if self.peer_ended:
            self.forget()
        else:
            self._end_with(rst_stream(self.id, ErrorCode.NO_ERROR))  # its further bytes are not needed (RFC 9113, 8.1)

    def reset(self, code: ErrorCode) -> None:
        """Ends the stream at once; its user is not called."""
        if not self.over:
            self._end_with(rst_stream(self.id, code))

    def give_up(self) -> None:
        """Ends the stream at once, because its peer takes too little; its user is called."""
        self.reset(ErrorCode.ENHANCE_YOUR_CALM)
        if self.user is not None:
            self.user.was_reset()

    def _stand_in_line(self) -> None:
        if self.window > 0:
            self._sending.waiting[self] = None
            self._sending.serve()

    def send_part(self) -> bool:
        """Sends one frame of the bytes that are held; whether more could be sent if the connection had room."""
        sending, held = self._sending, self._held
        size = min(len(held), self.window, sending.window, sending.max_frame)
        if size <= 0:
            return False
        self.window -= size
        sending.window -= size
        sending.sent += 1
        self._held = held[size:]
        sending.hold(-size)
        sending.write(data_head(size, self.id) + bytes(held[:size]))
        if self._held:
            return self.window > 0
        self._held = b""  # a view would keep the message
        if self._trailers is not None:
            self._send_trailers()
        elif self.user is not None:
            self.user.writable()
            # Its user may have sent again, and then it has its place already.
        return False

    def widen(self, step: int) -> None:
        """The peer takes so many bytes more, or fewer by a new setting. Raises StreamFaultError."""
        self.window += step
        if self.window > LARGEST_WINDOW:
            raise StreamFaultError(ErrorCode.FLOW_CONTROL_ERROR, "the window of the stream is too large")
        if self.window <= 0:
            self._sending.waiting.pop(self, None)
        elif self._held:
            self._stand_in_line()

    # --- from the peer

    def took(self, size: int) -> None:
        """The peer has used so much of its room. Raises StreamFaultError."""
        self.room -= size
        if self.room < 0:
            raise StreamFaultError(ErrorCode.FLOW_CONTROL_ERROR, "the peer has sent more than it may")

    def allow(self, room: int, needed: int = 0) -> None:
        """Lets the peer send so many bytes, counted from now.

        Args:
            room: the bytes, a wish: small steps are left for later.
            needed: how many it must be able to send at least.
        """
        step = room - self.room
        if step > 0 and (step >= STEP or self.room < needed) and not self.peer_ended and not self.over:
            self.room = room
            self._sending.write(window_update(self.id, step))

    def count_content(self, size: int, *, ends: bool) -> None:
        """Counts bytes of the peer against the length that it has stated. Raises StreamFaultError."""
        left = self.content_left
        if left is not None:
            self.content_left = left = left - size
            if left < 0 or (ends and left):
                raise StreamFaultError(ErrorCode.PROTOCOL_ERROR, "the content has another length than stated")

    # --- the end

    def _end_with(self, end: bytes) -> None:
        self._sending.write(end)
        self.forget()

    def forget(self) -> None:
        """Ends the stream without a word."""
        self.over = True
        if self._held:
            self._sending.hold(-len(self._held))
        self._held, self._trailers = b"", None
        self._sending.waiting.pop(self, None)
        self._is_over(self)
