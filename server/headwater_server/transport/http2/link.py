"""A connection on its socket, and its limits in time.

All that is written in one round of the event loop goes out at its end, in one piece: messages of several streams often
come together, and a write to a socket costs more than all the work for a message. The end of a call and a message that
its handler waits for go out at once, with all before them: nothing else would join them.

One timer a connection looks at all its times, when the first of them is due. All connections of a server read
into one buffer: a connection that says nothing has none.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, Protocol

from headwater_server.transport.http2.connection import Connection
from headwater_server.transport.http2.headers import Fields
from headwater_server.transport.http2.limits import Limits
from headwater_server.transport.http2.peers import Peer
from headwater_server.transport.http2.stream import Stream

READ_BYTES = 16 * 1024
"""Read in one step; then other connections have their turn."""
MOST_UNWRITTEN_BYTES = 64 * 1024
"""With more than that the bytes go out before the end of the round, so that the socket can say that it is full."""
GOODBYE_SECONDS = 1.0
"""How long a caller may take to see GOAWAY; until then its new calls are taken."""


class Owner(Protocol):
    """The server of a connection."""

    def link_made(self, link: Link) -> bool:
        """A connection has come; whether there is room for it."""
        ...

    def link_lost(self, link: Link) -> None:
        """A connection for which there was room has gone."""

    def stream_opened(self, link: Link, stream: Stream, fields: Fields) -> None:
        """A stream was opened, with these headers."""

    def held(self, step: int) -> None:
        """Streams of a connection hold so many bytes more, or fewer, that the caller does not take yet."""


class Link(asyncio.BufferedProtocol):
    """The socket of one connection.

    Args:
        owner: its server.
        limits: how much a caller may take.
        buffer: for the bytes that are read.

    Attributes:
        unsent: bytes that the caller does not take yet.
    """

    connection: Connection
    peer: Peer

    def __init__(self, owner: Owner, limits: Limits, buffer: memoryview) -> None:
        self._owner, self._limits, self._buffer = owner, limits, buffer
        self._is_taken = False
        self.unsent = 0
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._goodbye: asyncio.TimerHandle | None = None
        self._unwritten: list[bytes] = []
        self._unwritten_bytes = 0
        self._is_write_due = self._is_gathering = False
        self._made = self._heard = self._loop.time()
        self._pinged: float | None = None
        self._inside: tuple[int, float] | None = (0, self._made)

    # --- the socket

    def connection_made(self, transport: Any) -> None:
        """Begins, unless there are too many connections, or the caller speaks another protocol."""
        self._transport = transport
        tls = transport.get_extra_info("ssl_object")
        if (tls is not None and tls.selected_alpn_protocol() != "h2") or not self._owner.link_made(self):
            transport.close()  # after the end of its handshake
            self._goodbye = self._loop.call_later(GOODBYE_SECONDS, transport.abort)
            return
        self._is_taken = True
        self.peer = Peer(transport.get_extra_info("peername"), tls)
        self.connection = Connection(self, partial(self._owner.stream_opened, self), self._limits, self._loop.time)
        self.connection.begin()
        self._look()

    def connection_lost(self, error: Exception | None) -> None:
        """Ends all calls of the connection."""
        if self._is_taken:
            self.connection.lost()
            self._owner.link_lost(self)
        for timer in (self._timer, self._goodbye):
            if timer is not None:
                timer.cancel()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where to read to."""
        return self._buffer

    def buffer_updated(self, count: int) -> None:
        """Bytes were read."""
        if not self._is_taken:
            return  # they came with the end of the handshake
        self._heard = self._loop.time()
        self._pinged = None
        self.connection.receive(bytes(self._buffer[:count]))
        if count == READ_BYTES:  # uvloop would read on at once, up to 32 times
            self._transport.pause_reading()
            self._loop.call_soon(self._transport.resume_reading)

    def pause_writing(self) -> None:
        """The socket takes no more."""
        self.connection.pause()

    def resume_writing(self) -> None:
        """The socket has room again."""
        self.connection.resume()

    def write(self, data: bytes) -> None:
        """Sends bytes, at the end of this round of the event loop."""
        self._unwritten.append(data)
        self._unwritten_bytes += len(data)
        if not self._is_write_due:
            self._is_write_due = True
            self._loop.call_soon(self._write_due)
        elif self._unwritten_bytes > MOST_UNWRITTEN_BYTES:
            self.flush()

    def _write_due(self) -> None:
        self._is_write_due = False
        self.flush()

    def flush(self) -> None:
        """Sends now what was written."""
        if not self._unwritten:
            return
        data = b"".join(self._unwritten)
        self._unwritten.clear()
        self._unwritten_bytes = 0
        if not self._transport.is_closing():  # its caller may have gone since
            self._transport.write(data)

    def gather(self) -> None:
        """Says that `send_gathered` sends what is written from now on: the end of the round has nothing to do."""
        self._is_gathering, self._is_write_due = not self._is_write_due, True

    def send_gathered(self) -> None:
        """Sends now what was written."""
        if self._is_gathering:
            self._is_gathering = self._is_write_due = False
        self.flush()

    def close(self) -> None:
        """Sends what was written, then closes."""
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        """Closes at once."""
        self._transport.abort()

    def hold(self, step: int) -> None:
        """See connection.Wire."""
        self.unsent += step
        self._owner.held(step)

    def give_up_largest(self) -> None:
        """Ends the stream of which the caller takes the least."""
        max(self.connection.streams.values(), key=_held_of).give_up()

    # --- its times

    def say_goodbye(self) -> None:
        """Asks the caller to go elsewhere; the connection closes when its calls are over."""
        connection = self.connection
        if not connection.is_leaving:
            connection.say_goodbye()
            self._goodbye = self._loop.call_later(GOODBYE_SECONDS, connection.take_no_more)

    def _look(self) -> None:
        """Does what is due, and comes again when the next thing is."""
        now = self._loop.time()
        due = [self._keep_alive(now), self._watch_beginnings(now), self._grow_old(now)]
        if None in due:
            self.abort()
        else:
            self._timer = self._loop.call_at(max(min(filter(None, due)), now + 0.01), self._look)

    def _keep_alive(self, now: float) -> float | None:
        """Pings a silent caller; when to look again, None for one that has gone."""
        limits = self._limits
        if self._pinged is not None:
            gone = self._pinged + limits.keepalive_timeout_seconds
            return gone if now < gone else None
        silent = self._heard + limits.keepalive_seconds
        if now < silent:
            return silent
        self._pinged = now
        self.connection.ping()
        return now + limits.keepalive_timeout_seconds

    def _watch_beginnings(self, now: float) -> float | None:
        """When to look again; None where a preface, a frame or a header block has begun and does not end."""
        seconds, connection = self._limits.preface_seconds, self.connection
        if not connection.is_inside_frame:
            self._inside = None
        elif self._inside is None or self._inside[0] != connection.frames_read:
            self._inside = (connection.frames_read, now)
        elif now - self._inside[1] >= seconds:
            return None
        since = connection.block_since
        if since is not None and now - since >= seconds:
            return None
        begun = [now, *([self._inside[1]] if self._inside else []), *([since] if since is not None else [])]
        return min(begun) + seconds

    def _grow_old(self, now: float) -> float | None:
        """Says goodbye to a connection that is idle or old; when to look again, None when its time is over."""
        limits, connection = self._limits, self.connection
        due = [now + 3600.0]
        if limits.idle_seconds:
            since = connection.idle_since
            idle = (now if since is None else since) + limits.idle_seconds
            if now >= idle:
                self.say_goodbye()
            due.append(max(idle, now + GOODBYE_SECONDS))
        if limits.age_seconds:
            old = self._made + limits.age_seconds
            if now >= old:
                self.say_goodbye()
                old += limits.age_grace_seconds
            if now >= old:
                return None
            due.append(old)
        return min(due)


def _held_of(stream: Stream) -> int:
    return stream.held
