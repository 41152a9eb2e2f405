"""The sockets that a server listens on."""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import suppress

BACKLOG = 4096
_UNIX = "unix:"


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
