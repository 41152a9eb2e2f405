"""An answer of a server: its head, and its body as it comes.

The body is read piece by piece, or followed: then each piece goes to the receiver in the callback in which it came, and
`pause` stops the socket. Until somebody follows, pieces wait here, at most READ_AHEAD_BYTES and what one read brings.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

READ_AHEAD_BYTES = 32 * 1024
"""Bytes of a body that wait for its reader; the rest waits in the socket, and TCP slows the server down."""


_NO_HEADERS: Mapping[str, str] = {}


class BodyReceiver(Protocol):
    """Gets a body as it comes, within the loop's callbacks: its methods must not raise."""

    def body_arrived(self, data: bytes) -> None:
        """The next piece has come."""
        ...

    def body_ended(self, error: BaseException | None) -> None:
        """The body is at its end, or broke off with this error."""
        ...


class Line(Protocol):
    """The side of a connection that an answer sees."""

    def pause(self) -> None:
        """Stops reading the socket."""
        ...

    def resume(self) -> None:
        """Reads the socket again."""
        ...

    def abort(self) -> None:
        """Closes the connection, and says no more."""
        ...


class PushedAnswer:
    """An answer whose head has come.

    Args:
        line: the connection.
        status: of the answer.
        headers: names in lower case; the values of a name that came several times are joined. There are none any more
            once somebody follows.
    """

    __slots__ = (
        "_error",
        "_line",
        "_paused",
        "_reader",
        "_receiver",
        "_size",
        "_waiting",
        "arrived",
        "headers",
        "status",
    )

    def __init__(self, line: Line, status: int, headers: Mapping[str, str]) -> None:
        self.status = status
        self.headers = headers
        self._line: Line | None = line
        self._receiver: BodyReceiver | None = None
        self._waiting: list[bytes] = []  # an empty deque has 760 bytes
        self._size = 0
        self._error: BaseException | None = None
        self._paused = False
        self._reader: asyncio.Future[None] | None = None
        self.arrived: Callable[[bytes], None] = self._hold

    def _hold(self, data: bytes) -> None:
        self._waiting.append(data)
        self._size += len(data)
        if self._size >= READ_AHEAD_BYTES:
            self.pause()
        if self._reader is not None:
            self._wake()

    def ended(self, error: BaseException | None) -> None:
        """The connection says that the body is at its end, or broke off."""
        receiver = self._receiver
        self._free()
        self._error = error
        if receiver is not None:
            receiver.body_ended(error)

    def follow(self, receiver: BodyReceiver) -> None:
        """Gives the receiver what waits, and from now on every piece and the end."""
        if self._line is not None:
            self._receiver = receiver
            self.arrived = receiver.body_arrived
        has_ended = self._line is None
        self.headers = _NO_HEADERS  # a reply can take minutes
        if self._paused:
            self.resume()  # before the receiver gets anything: it may pause again
        if self._waiting:
            data = b"".join(self._waiting)
            self._waiting.clear()
            receiver.body_arrived(data)
        if has_ended:
            receiver.body_ended(self._error)

    async def read(self) -> bytes:
        """The next piece; empty at the end. Raises OSError where the connection broke."""
        while not self._waiting:
            if self._error is not None:
                raise self._error
            if self._line is None:
                return b""
            self.resume()
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        data = self._waiting.pop(0)
        self._size -= len(data)
        return data

    def pause(self) -> None:
        """Stops the pieces that have not come yet."""
        if not self._paused and self._line is not None:
            self._paused = True
            self._line.pause()

    def resume(self) -> None:
        """Lets it come again."""
        if self._paused:
            self._paused = False
            if self._line is not None:
                self._line.resume()

    async def aclose(self) -> None:
        """Closes the connection, unless the answer was received to its end."""
        line = self._line
        if line is not None:
            self._free()
            line.abort()

    def _free(self) -> None:
        """Drops its references to connection and receiver; they refer to this."""
        self._line = self._receiver = None
        self.arrived = self._hold
        if self._reader is not None:
            self._wake()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
