"""The sockets that a server listens on, and connections whose TLS has not begun.

Theory of operation. asyncio's servers say nothing of a connection before its handshake has ended, so those that never
end it would count nowhere. Here such a connection is accepted by hand, and counts from then on. Where all places are
taken, a handshake that takes long makes room for the next connection: somebody who opens connections and says
nothing cannot keep others out.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import ssl
import stat
from collections.abc import Callable
from contextlib import suppress

BACKLOG = 4096
LONG_SECONDS = 2.0
"""A handshake that has taken so long makes room for others; most take two ways there and back."""
_UNIX = "unix:"
_ACCEPTS = 64
"""Connections that are accepted in one step; the others have their turn then."""
_PAUSE_SECONDS = 1.0
_NO_ROOM = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))

log = logging.getLogger(__name__)


class Listeners:
    """Bound sockets, until they are handed over or closed.

    Args:
        shares_port: whether other processes may listen on the same port.
    """

    def __init__(self, *, shares_port: bool) -> None:
        self._shares_port = shares_port
        self._paths: list[str] = []

    def bind(self, address: str) -> tuple[list[socket.socket], int]:
        """Binds an address, `HOST:PORT` or `unix:PATH`: its sockets, and the port, which is 1 for a path.

        Raises RuntimeError when it cannot be bound.
        """
        try:
            if address.startswith(_UNIX):
                return [self._bind_path(address.removeprefix(_UNIX))], 1
            host, _, port = address.rpartition(":")
            return self._bind_host(host.removeprefix("[").removesuffix("]"), int(port))
        except (OSError, ValueError) as error:
            raise RuntimeError(f"cannot bind {address}: {error}") from error

    def forget(self) -> None:
        """Removes the files of Unix sockets."""
        for path in self._paths:
            with suppress(FileNotFoundError):
                os.unlink(path)
        self._paths.clear()

    def _bind_path(self, path: str) -> socket.socket:
        bound = socket.socket(socket.AF_UNIX)
        try:
            with suppress(FileNotFoundError):
                if stat.S_ISSOCK(os.lstat(path).st_mode):
                    os.unlink(path)
            bound.bind(path)
        except BaseException:
            bound.close()
            raise
        self._paths.append(path)
        return bound

    def _bind_host(self, host: str, port: int) -> tuple[list[socket.socket], int]:
        """A name may have several addresses: all are bound that this machine has."""
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        bound: list[socket.socket] = []
        last: OSError | None = None
        try:
            for family, kind, protocol, _, where in found:
                try:
                    bound.append(self._bind_one(socket.socket(family, kind, protocol), (where[0], port, *where[2:])))
                    port = bound[0].getsockname()[1]
                except OSError as error:
                    if error.errno == errno.EADDRINUSE:
                        raise
                    last = error
            if not bound:
                raise last or OSError("the host has no address")
        except BaseException:
            for one in bound:
                one.close()
            raise
        return bound, port

    def _bind_one(self, one: socket.socket, where: tuple[object, ...]) -> socket.socket:
        try:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if self._shares_port:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if one.family == socket.AF_INET6:
                is_any = where[0] == "::"  # then callers with IPv4 come here too
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not is_any))
            one.bind(where)
        except BaseException:
            one.close()
            raise
        return one


class TlsListener:
    """A socket whose connections are accepted by hand, from the beginning to `close`.

    Args:
        listening: the socket, bound.
        accepted: called with each connection.
    """

    def __init__(self, listening: socket.socket, accepted: Callable[[socket.socket], None]) -> None:
        self._socket, self._accepted = listening, accepted
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        listening.setblocking(False)
        listening.listen(BACKLOG)
        self._resume()

    def _resume(self) -> None:
        self._pause = None
        self._loop.add_reader(self._socket.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(_ACCEPTS):
            try:
                found, _ = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                log.error("no connection can be accepted now: %s", error.strerror)
                self._loop.remove_reader(self._socket.fileno())
                self._pause = self._loop.call_later(_PAUSE_SECONDS, self._resume)
                return
            found.setblocking(False)
            self._accepted(found)

    def close(self) -> None:
        """Accepts no more."""
        if self._pause is not None:
            self._pause.cancel()
        else:
            self._loop.remove_reader(self._socket.fileno())
        self._socket.close()


class Handshakes:
    """The connections of a server whose handshakes have not ended.

    Args:
        make: makes the protocol of a connection, which is called when the handshake has ended.
        seconds: how long one may take.
    """

    def __init__(self, make: Callable[[], asyncio.BaseProtocol], seconds: float) -> None:
        self._make, self._seconds = make, seconds
        self._begun: dict[asyncio.Task[None], float] = {}

    def __len__(self) -> int:
        return len(self._begun)

    def begin(self, accepted: socket.socket, tls: ssl.SSLContext) -> None:
        """Begins the handshake of a connection."""
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._shake(accepted, tls))
        self._begun[task] = loop.time()
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._begun.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a connection could not be made", exc_info=error)

    async def _shake(self, accepted: socket.socket, tls: ssl.SSLContext) -> None:
        connect = asyncio.get_running_loop().connect_accepted_socket
        try:
            await connect(self._make, accepted, ssl=tls, ssl_handshake_timeout=self._seconds)
        except OSError as error:
            log.debug("a handshake of TLS has failed: %s", error)

    def end_long_one(self) -> bool:
        """Ends the oldest one if it takes long; whether it does."""
        task, began = next(iter(self._begun.items()), (None, 0.0))
        if task is None or asyncio.get_running_loop().time() - began < LONG_SECONDS:
            return False
        del self._begun[task]
        task.cancel()
        return True

    async def close(self) -> None:
        """Ends all."""
        begun = list(self._begun)
        for task in begun:
            task.cancel()
        if begun:
            await asyncio.wait(begun)
