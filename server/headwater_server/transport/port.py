"""The address that the server listens on, checked and held before anybody listens there."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from headwater_server.private_files import check_folder

UNIX = "unix:"
"""A host that begins with this is the path of a socket; it has no port."""
BACKLOG = 1_024
"""How many connections may wait until a process takes them."""
CURE = "choose with --host and --port"
LONGEST_PATH = 107
"""Bytes of the path of a socket."""


class PortTakenError(Exception):
    """The address cannot be listened on; the message is one line for people.

    Args:
        message: that line.
        is_setting: whether the address is a mistake in the settings; otherwise another program has it.
    """

    def __init__(self, message: str, *, is_setting: bool = False) -> None:
        super().__init__(message)
        self.is_setting = is_setting


def socket_path(host: str) -> str:
    """The absolute path of the socket that a host names, as `unix:PATH` or `unix://PATH`; empty for any other host."""
    if not host.startswith(UNIX):
        return ""
    path = host.removeprefix(UNIX)
    return os.path.abspath(os.path.expanduser(path.removeprefix("//") if path.startswith("///") else path))


def target_of(host: str, port: int, *, tls: bool = False) -> str:
    """The address as gRPC writes it, or, of a port with TLS, as Headwater's clients do."""
    if path := socket_path(host):
        return f"{UNIX}{path}"
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return f"https://{address}" if tls else address


def check_path(path: str) -> None:
    """Binds a socket at the path and releases it. The file of a server that no longer listens is removed.

    Raises PortTakenError.
    """
    try:
        if len(os.fsencode(path)) > LONGEST_PATH:
            raise OSError(0, f"the path is longer than the {LONGEST_PATH} bytes of a socket")
        check_folder(Path(path).parent, is_shared=True)  # a user who may exchange the socket gets what callers send
        with socket.socket(socket.AF_UNIX) as tried:
            if _is_left_over(path):
                os.unlink(path)
            tried.bind(path)
            os.unlink(path)
    except OSError as error:
        raise _refused(f"cannot listen on {UNIX}{path}: {error.strerror}; choose with --host", error) from error


@contextmanager
def hold_path(path: str) -> Iterator[socket.socket]:
    """Listens at the path for processes that take the connections, and removes the file at the end of the block.

    Raises PortTakenError.
    """
    check_path(path)
    with socket.socket(socket.AF_UNIX) as held:
        held.bind(path)
        held.listen(BACKLOG)
        try:
            yield held
        finally:
            with suppress(FileNotFoundError):
                os.unlink(path)


def _is_left_over(path: str) -> bool:
    """Whether a socket is there on which no program listens. Raises OSError for another file."""
    with suppress(FileNotFoundError):
        found = os.lstat(path)
        if not stat.S_ISSOCK(found.st_mode):
            raise OSError(0, "a file that is no socket is there")
        if found.st_uid != os.geteuid():
            raise OSError(0, "a socket of another user is there")
        with socket.socket(socket.AF_UNIX) as caller:
            caller.setblocking(False)
            try:
                caller.connect(path)
            except ConnectionRefusedError:
                return True
            except BlockingIOError:  # it has more callers than it can take just now
                return False
    return False


def check_port(host: str, port: int, cure: str = CURE) -> None:
    """Binds the address and releases it: a fault gives the system's short message instead of gRPC's pages.

    Raises PortTakenError, whose message has the cure.
    """
    try:
        # Connections that have ended may linger at the port for a minute; they do not occupy it.
        _bind(host, port, socket.SO_REUSEADDR).close()
    except (OSError, UnicodeError) as error:
        raise taken(host, port, error, cure) from error


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
        raise taken(host, port, error) from error


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


def taken(host: str, port: int, error: OSError | UnicodeError, cure: str = CURE) -> PortTakenError:
    """The error for an address that cannot be listened on."""
    why = error.strerror if isinstance(error, OSError) else "not the name of a host"
    message = f"cannot listen on {target_of(host, port)}: {why or error}; {cure}"
    return _refused(message, error)


def _refused(message: str, error: OSError | UnicodeError) -> PortTakenError:
    return PortTakenError(message, is_setting=getattr(error, "errno", None) != errno.EADDRINUSE)
