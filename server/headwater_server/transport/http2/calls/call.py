"""One call between its stream and its handler: messages in, messages out, and its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import grpc

from headwater_server.transport.http2.calls.held import Share
from headwater_server.transport.http2.calls.messages import (
    PREFIX,
    PREFIX_BYTES,
    MessageReader,
    Packed,
    RefusedError,
)
from headwater_server.transport.http2.calls.metadata import Head, Metadata, headers, trailers
from headwater_server.transport.http2.calls.unpacking import Unpacker
from headwater_server.transport.http2.frames import ErrorCode
from headwater_server.transport.http2.peers import Peer
from headwater_server.transport.http2.stream import STEP, WINDOW, Sent, Stream

_pack_prefix = PREFIX.pack
WIDEST = 1024 * 1024
"""A long message may have so many bytes on their way, so that it comes fast from far away too."""

_NO_READER = MessageReader(0, "identity")
"""The reader of all calls of which nothing more is read: nothing is given to it."""


class Call:
    """A call. It is the user of its stream.

    Args:
        stream: its stream.
        head: of the call.
        peer: the caller's side of the connection.
        most_bytes: of a message; 0: no limit.
        unpacker: decompresses messages.
        share: counts what has come and was not taken, for all calls of the connection.
        loop: the one that runs.

    Attributes:
        held: the bytes that have come and that the handler has not taken.
        deadline: by the clock of the event loop; None: there is none.
        on_left: called when the caller has left, or the deadline has passed.
        on_writable: called when `try_send` takes messages again after FULL.
        has_left: whether the caller has left, or the deadline has passed.
    """

    __slots__ = (
        "_has_headers",
        "_is_read",
        "_messages",
        "_reader",
        "_reading",
        "_share",
        "_timer",
        "_unpacker",
        "_unread",
        "_writing",
        "deadline",
        "has_left",
        "head",
        "held",
        "loop",
        "on_left",
        "on_writable",
        "peer",
        "stream",
    )

    def __init__(
        self,
        stream: Stream,
        head: Head,
        peer: Peer,
        most_bytes: int,
        unpacker: Unpacker,
        share: Share,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.stream, self.head, self.peer = stream, head, peer
        self.has_left = False
        self.on_left: Callable[[], object] | None = None
        self.on_writable: Callable[[], None] | None = None
        self.loop = loop
        self._unpacker, self._share = unpacker, share
        self.held = 0
        self._reader = MessageReader(most_bytes, head.encoding)
        self._messages: list[bytes] = []  # an empty deque has 760 bytes
        self._unread = 0
        self._reading: asyncio.Future[None] | None = None
        self._writing: asyncio.Future[None] | None = None
        self._has_headers = self._is_read = False
        self.deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        if head.timeout is not None:
            self.deadline = self.loop.time() + head.timeout
            self._timer = self.loop.call_at(self.deadline, self._late)

    # --- from the caller

    async def read(self) -> bytes | None:
        """The next message; None when the caller has sent all."""
        while (first := await self._first()) is not None:
            message = await self._unpacked(first) if type(first) is Packed else first
            if self._messages and self._messages[0] is first:  # it has counted until now, or was given up
                self._pop()
                return message
        return None

    def take(self) -> bytes | None:
        """The next message, if it is there and needs no work; None: `read` may have to wait."""
        return None if not self._messages or type(self._messages[0]) is Packed else self._pop()

    def _pop(self) -> bytes:
        message = self._messages.pop(0)
        self._unread -= len(message) + PREFIX_BYTES
        self._share.change(self, self._unread + self._reader.held)
        if not self.stream.peer_ended:
            self._allow()
        return message

    async def _first(self) -> bytes | None:
        """The next message as it came; it stays where it is."""
        while not self._messages:
            if self.stream.peer_ended or self.stream.over or self.has_left:
                return None
            self._reading = self.loop.create_future()
            try:
                await self._reading
            finally:
                self._reading = None
        return self._messages[0]

    async def _unpacked(self, message: Packed) -> bytes:
        try:
            return await self._unpacker.unpack(message, self.head.encoding)
        except RefusedError as error:
            self._refuse(error)
            await asyncio.sleep(0)  # the task of the call is cancelled here
            return b""

    def received(self, data: bytes) -> None:
        """Bytes have come."""
        if self.has_left or self._is_read:
            return
        try:
            found = self._reader.read(data)
        except RefusedError as error:
            self._refuse(error)
            return
        if found:
            self._messages.extend(found)
            self._unread += sum(map(len, found)) + PREFIX_BYTES * len(found)
        self._share.change(self, self._unread + self._reader.held)
        self._share.relieve()
        if not self.has_left:
            if not self.stream.peer_ended:
                self._allow()
            if found and self._reading is not None:
                _wake(self._reading)

    def ended(self) -> None:
        """The caller has sent all."""
        if self._reader.held:
            self.finish(grpc.StatusCode.INTERNAL, "the last message has no end")
            self._leave()
        if self._reading is not None:
            _wake(self._reading)

    def was_reset(self) -> None:
        """The caller, or its connection, has gone."""
        self._leave()

    def refuse(self, why: str) -> None:
        """Ends the call, because it holds too much."""
        self._refuse(RefusedError(grpc.StatusCode.RESOURCE_EXHAUSTED, why))

    def _refuse(self, error: RefusedError) -> None:
        self._forget_messages()
        self.finish(error.code, error.message)
        self._leave()

    def _allow(self) -> None:
        """Lets the caller send as much as is to be held, and a message that has begun to its end."""
        if self._messages:
            self.stream.allow(WINDOW - self._unread)
        else:
            missing = self._reader.missing
            self.stream.allow(max(WINDOW, min(missing, WIDEST)), min(missing, STEP))

    def read_no_more(self) -> None:
        """The call has its only request: further bytes of its caller are dropped, up to the window of its stream."""
        self._is_read = True
        self._forget_messages()

    def _forget_messages(self) -> None:
        self._messages.clear()
        if self.held:
            self._share.change(self, 0)
        self._unread = 0
        self._reader = _NO_READER

    # --- to the caller

    def send_headers(self, metadata: Metadata = ()) -> None:
        """Sends the first headers, once. Raises ValueError for metadata that cannot be sent."""
        if not self._has_headers:
            self.stream.send_headers(headers(metadata, self.stream.most_header_bytes))
            self._has_headers = True

    @property
    def has_headers(self) -> bool:
        """Whether the first headers were sent."""
        return self._has_headers

    def try_send(self, message: bytes) -> Sent:
        """Sends a message without waiting.

        FULL: it was not taken, because another waits for the caller to read; `on_writable` is called later.
        CLOSED: the call has ended.
        """
        if not self._has_headers:
            self.send_headers()
        return self.stream.send(_pack_prefix(0, len(message)) + message)

    async def send(self, message: bytes) -> bool:
        """Sends a message, and waits until it has gone out; False when the call has ended."""
        return await self.settle(self.try_send(message), message)

    def send_first(self, metadata: Metadata, message: bytes) -> Sent:
        """Sends the first headers, unless they were sent, and a message, at once; see `send_headers` and `try_send`."""
        stream = self.stream
        stream.gather()
        try:
            self.send_headers(metadata)
            return self.try_send(message)
        finally:
            stream.send_gathered()

    async def settle(self, sent: Sent, message: bytes) -> bool:
        """Waits until a message has gone out of which `try_send` has said this; False when the call has ended."""
        while sent is Sent.FULL:
            await self._gone_out()
            sent = self.try_send(message)
        if sent is Sent.SENT and self.stream.is_full:
            await self._gone_out()
        return sent is Sent.SENT and not self.has_left

    async def _gone_out(self) -> None:
        self._writing = self.loop.create_future()
        try:
            await self._writing
        finally:
            self._writing = None

    def writable(self) -> None:
        """All that was sent has gone out."""
        _wake(self._writing)
        if self.on_writable is not None:
            self.on_writable()

    # --- the end

    def finish(self, code: grpc.StatusCode, message: str = "", metadata: Metadata = ()) -> None:
        """Ends the call after all that was sent, unless it has ended. Raises ValueError for bad metadata."""
        stream = self.stream
        if not stream.over:
            most = stream.most_header_bytes
            stream.finish(trailers(code, message, metadata, most, alone=not self._has_headers))

    def release(self) -> None:
        """The handler is done: nothing more is read. Held bytes may go out until the deadline."""
        self.on_left = self.on_writable = self.stream.user = None
        self._forget_messages()
        if self._timer is not None and self.stream.over:
            self._timer.cancel()

    def _late(self) -> None:
        """The deadline has passed; the caller knows that by itself too."""
        if self.stream.is_full:
            self.stream.reset(ErrorCode.CANCEL)  # trailers would come after a message that is not read
        else:
            self.finish(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
        self._leave()

    def _leave(self) -> None:
        if self.has_left:
            return
        self.has_left = True
        _wake(self._writing)
        if self.on_left is not None:
            self.on_left()


def _wake(future: asyncio.Future[None] | None) -> None:
    """Ends the wait for this, if there is one."""
    if future is not None and not future.done():
        future.set_result(None)
