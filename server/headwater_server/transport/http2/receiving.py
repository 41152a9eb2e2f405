"""The limits of a peer that sends: the window of the connection, and streams that have ended (RFC 9113, 5)."""

from __future__ import annotations

from collections.abc import Callable

from headwater_server.transport.http2.frames import DEFAULT_WINDOW, ConnectionFaultError, ErrorCode, window_update

CONNECTION_WINDOW = 4 * 1024 * 1024
MOST_REMEMBERED = 128
"""Streams that have ended lately, and may still be named by frames that were on their way."""


class Receiving:
    """The receiving side of one connection.

    Args:
        write: writes bytes to the peer.
    """

    __slots__ = ("_ended", "_room", "_write")

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._room = CONNECTION_WINDOW
        self._ended: dict[int, bool] = {}

    def first_window(self) -> bytes:
        """The frame that opens the window of the connection to its full size."""
        return window_update(0, CONNECTION_WINDOW - DEFAULT_WINDOW)

    def took(self, size: int) -> None:
        """Bytes have come. The window is opened again at once: the streams limit how many are held.

        Raises ConnectionFaultError.
        """
        self._room -= size
        if self._room < 0:
            raise ConnectionFaultError(ErrorCode.FLOW_CONTROL_ERROR, "the peer has sent more than it may")
        if self._room < CONNECTION_WINDOW // 2:
            self._write(window_update(0, CONNECTION_WINDOW - self._room))
            self._room = CONNECTION_WINDOW

    def remember(self, stream: int, *, early: bool) -> None:
        """A stream has ended; `early` when its peer may not know that yet."""
        ended = self._ended
        ended[stream] = early
        if len(ended) > MOST_REMEMBERED:
            del ended[next(iter(ended))]

    def ended_early(self, stream: int) -> bool | None:
        """Whether the stream ended before its peer could know; None for one that is not remembered."""
        return self._ended.get(stream)
