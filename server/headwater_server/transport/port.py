"""The address that the server listens on, checked and held before anybody listens there."""

from __future__ import annotations

import errno
import socket
from contextlib import suppress


class PortTakenError(Exception):
    """The address cannot be listened on; the message is one line for people.

    Args:
        message: that line.
        is_setting: whether the address is a mistake in the settings; otherwise another program has it.
    """

    def __init__(self, message: str, *, is_setting: bool = False) -> None:
        super().__init__(message)
        self.is_setting = is_setting


def check_port(host: str, port: int) -> None:
    """Binds the address and releases it: a fault gives the system's short message instead of gRPC's pages.

    Raises PortTakenError.
    """
    try:
        # Connections that have ended may linger at the port for a minute; they do not occupy it.
        _bind(host, port, socket.SO_REUSEADDR).close()
    except (OSError, UnicodeError) as error:
        raise _taken(host, port, error) from error


def hold_port(host: str, port: int) -> socket.socket:
    """A socket that keeps the port for processes that listen there with SO_REUSEPORT.

    It takes no connections itself: it does not listen. It fixes the number of port 0, and while it is open no other
    program gets the port, also while no process listens.

    Raises PortTakenError.
    """
    check_port(host, port)
    with suppress(OSError):
        # Without SO_REUSEADDR it is in the way of `check_port` elsewhere before anybody listens here.
        return _bind(host, port, socket.SO_REUSEPORT)
    try:  # lingering connections of a server that did not share its port
        return _bind(host, port, socket.SO_REUSEPORT, socket.SO_REUSEADDR)
    except (OSError, UnicodeError) as error:
        raise _taken(host, port, error) from error


def _bind(host: str, port: int, *options: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    held = socket.socket(family, kind, protocol)
    try:
        for option in options:
            held.setsockopt(socket.SOL_SOCKET, option, 1)
        held.bind(address)
    except BaseException:
        held.close()
        raise
    return held


def _taken(host: str, port: int, error: OSError | UnicodeError) -> PortTakenError:
    why = error.strerror if isinstance(error, OSError) else "not the name of a host"
    message = f"cannot listen on {host}:{port}: {why or error}; choose with --host and --port"
    return PortTakenError(message, is_setting=getattr(error, "errno", None) != errno.EADDRINUSE)
