"""The connections to servers: opened when they are needed, kept for the next request, closed with their owner.

A kept connection may be closed by its server at the moment it is used again. Then no byte of an answer comes, and
the request is sent once more, over a new connection. No other request is sent twice.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from functools import cache, partial
from typing import Any

from headwater_server.providers.http1.addresses import Addresses, first_to_take
from headwater_server.providers.http1.answer import PushedAnswer
from headwater_server.providers.http1.connection import Connection, Site
from headwater_server.providers.http1.errors import ClosedError
from headwater_server.streaming.times.bound import Bound

KEEPALIVE_SECONDS = 15.0
"""How long a connection is kept without a request. Servers and proxies keep theirs for 60 s and more."""


class Pool:
    """Asks servers, within one event loop; to be closed by its owner.

    Args:
        trusted: the certificates to trust; None: the system's.
        unix_socket: the path of a socket to connect to, whatever the site is; empty: the site's address.
    """

    def __init__(self, trusted: ssl.SSLContext | None = None, unix_socket: str = "") -> None:
        self._trusted = trusted
        self._unix_socket = unix_socket
        self._addresses = Addresses()
        self._idle: dict[Site, deque[Connection]] = {}
        self._open: set[Connection] = set()
        self._cleaning: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._none_is_left = asyncio.Event()
        self._none_is_left.set()

    async def ask(self, site: Site, head: bytes, body: bytes, connect_seconds: float) -> PushedAnswer:
        """The answer to a request, once its head has come; to be closed by the caller.

        Raises OSError where the site cannot be reached or the connection breaks, TimeoutError where no connection is
        made in time, and ValueError for a host that is no name.
        """
        kept = self._kept(site)
        if kept is not None:
            try:
                return await kept.ask(head, body)
            except OSError:
                if kept.has_received:
                    raise
        with Bound(asyncio.get_running_loop(), connect_seconds):
            connection = await self._connect(site)
        return await connection.ask(head, body)

    async def aclose(self) -> None:
        """Closes all connections."""
        self._is_closed = True
        self._addresses.close()
        if self._cleaning is not None:
            self._cleaning.cancel()
        for connection in list(self._open):
            connection.abort()
        await self._none_is_left.wait()

    def take_back(self, connection: Connection) -> None:
        """See connection.Owner."""
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        connection.resume()
        self._idle.setdefault(connection.site, deque()).append(connection)
        if self._cleaning is None:
            self._cleaning = loop.call_later(KEEPALIVE_SECONDS, self._clean)

    def forget(self, connection: Connection) -> None:
        """See connection.Owner."""
        self._open.discard(connection)
        idle = self._idle.get(connection.site)
        if idle is not None and connection in idle:
            idle.remove(connection)
        if not self._open:
            self._none_is_left.set()

    def _kept(self, site: Site) -> Connection | None:
        """The connection that was used last, if one is kept: the others may close."""
        idle = self._idle.get(site)
        while idle:
            connection = idle.pop()
            if not connection.transport.is_closing():
                return connection
        return None

    async def _connect(self, site: Site) -> Connection:
        tls = (self._trusted or _system_tls()) if site.is_tls else None
        name = site.host.rstrip(".") if site.is_tls else None
        make = partial(Connection, self, site)
        loop = asyncio.get_running_loop()
        if self._unix_socket:
            transport, connection = await loop.create_unix_connection(
                make, self._unix_socket, ssl=tls, server_hostname=name
            )
        else:
            found = await self._addresses.find(site.host, site.port)
            where: dict[str, Any] = {"host": found[0][4][0], "port": site.port}
            if len(found) > 1 or any(found[0][4][3:]):  # the last is the scope of an address of IPv6
                where = {"sock": await first_to_take(found)}
            transport, connection = await loop.create_connection(make, **where, ssl=tls, server_hostname=name)
        if not connection.is_open:  # its server has closed it already, and its socket is gone
            raise ClosedError
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        # Not when it is made: uvloop says nothing of the end of a connection whose maker is cancelled.
        self._open.add(connection)
        self._none_is_left.clear()
        if self._is_closed:
            connection.abort()
        return connection

    def _clean(self) -> None:
        """Closes the connections that were idle for too long."""
        self._cleaning = None
        loop = asyncio.get_running_loop()
        now, oldest = loop.time(), None
        for site, idle in list(self._idle.items()):
            while idle and idle[0].idle_since + KEEPALIVE_SECONDS <= now:
                idle.popleft().abort()
            if not idle:
                del self._idle[site]
            else:
                oldest = min(oldest or idle[0].idle_since, idle[0].idle_since)
        if oldest is not None:
            self._cleaning = loop.call_at(oldest + KEEPALIVE_SECONDS, self._clean)


def speaks_http1(context: ssl.SSLContext) -> ssl.SSLContext:
    """The context, whose connections offer HTTP/1.1 and nothing else."""
    context.set_alpn_protocols(["http/1.1"])
    return context


@cache
def _system_tls() -> ssl.SSLContext:
    return speaks_http1(ssl.create_default_context())
