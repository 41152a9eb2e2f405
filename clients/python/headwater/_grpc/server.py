"""Where a call goes: the address of a server, and what lets the caller in."""

from __future__ import annotations

import inspect
import ipaddress
import os
import re
import socket
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeAlias

from headwater._grpc.origin import origin
from headwater._values.threads import in_thread
from headwater._values.validation import header, invalid
from headwater.exceptions import AuthenticationError, ValidationError

Token: TypeAlias = str | Callable[[], str]
"""Lets a caller in: a text, or a function that returns it, called in a thread before each call and each reconnect."""

DEFAULT_TARGET = "localhost:50051"

_ENDPOINT = r"(?:\[[^\]/]+\]|[^:/\[\],]+):\d{1,5}"
_ADDRESS = re.compile(rf"(?:dns:(?://[^/]*/)?)?{_ENDPOINT}|ipv[46]:{_ENDPOINT}(?:,{_ENDPOINT})*")
_LOCAL_NAMES = (
    "localhost",
    "localhost.localdomain",
    "localhost4",
    "localhost4.localdomain4",
    "localhost6",
    "localhost6.localdomain6",
    "ip6-localhost",
    "ip6-loopback",
)
_WITHOUT_PORT = ("unix:", "unix-abstract:", "vsock:", "xds:", "google-c2p:")


@dataclass(frozen=True, slots=True)
class Server:
    """The server of a call.

    Attributes:
        target: its address.
        token: lets the caller in; None for none.
        owner: whose channel carries the call: a `Connection`'s own; None for the one that is shared by target.
    """

    target: str
    token: Token | None = None
    owner: Hashable = None

    async def headers(self) -> tuple[tuple[str, str], ...]:
        """The metadata of a call: the token, and the origin of the handler that makes it.

        Raises:
            AuthenticationError: the function that gives the token failed.
        """
        token = await _asked(self.token) if callable(self.token) else self.token
        return ((("authorization", f"Bearer {token}"),) if token else ()) + origin.get()

    def __repr__(self) -> str:
        return f"Server({self.target!r})"


async def _asked(provider: Callable[[], str]) -> str:
    """The token of the moment. In a thread: heartbeats share this loop."""
    ended = await in_thread("token", provider)
    if ended.error is not None:
        what = type(ended.error).__name__
        raise AuthenticationError(f"the function given as token raised {what}: {ended.error}") from ended.error
    try:
        return header("token", ended.value)
    except ValidationError as error:
        raise AuthenticationError(f"the function given as token returned a bad one: {error}") from None


def check_token(token: Any) -> Token | None:
    """A token that a caller gave; None for none. Raises ValidationError."""
    if not token:
        return None
    if callable(token):
        if inspect.iscoroutinefunction(token):
            raise invalid("token", "must be a str, or a function that is not async and returns one")
        return token  # type: ignore[no-any-return]
    return header("token", token)


def resolve_server(target: str | None, token: Token | None, owner: Hashable = None) -> Server:
    """The server of a call: `target`, else HEADWATER_TARGET, else localhost:50051. Raises ValidationError."""
    if target is not None:
        address = check_target("target", target)
    else:
        address = check_target("HEADWATER_TARGET", os.environ.get("HEADWATER_TARGET") or DEFAULT_TARGET)
    return Server(address, check_token(token), owner)


def check_target(name: str, address: Any) -> str:
    """An address that gRPC can connect to. Raises ValidationError."""
    if not isinstance(address, str) or not address.isascii() or not address.isprintable() or " " in address:
        raise invalid(name, "must be an address such as localhost:50051")
    if not _names_a_port(address):
        raise invalid(name, f"must be HOST:PORT, such as localhost:50051, not {address!r}")
    return address


def _names_a_port(address: str) -> bool:
    """False where gRPC would try port 443; True too for the forms that need no port, such as unix:PATH."""
    if address.startswith(_WITHOUT_PORT):
        return True
    return _ADDRESS.fullmatch(address) is not None and 0 < int(address.rpartition(":")[2]) < 2**16


def endpoint(target: str) -> tuple[str, int] | str | None:
    """Host and port of an address, the first of several, or the path of a unix socket; None for other kinds."""
    if target.startswith("unix:"):
        path = target.removeprefix("unix:")
        return path.removeprefix("//") if path.startswith("///") else path
    if target.startswith(_WITHOUT_PORT):
        return None
    host, _, port = _without_scheme(target).partition(",")[0].rpartition(":")
    return host.strip("[]"), int(port)


def _without_scheme(target: str) -> str:
    return re.sub(r"^(?:ipv[46]:|dns:(?://[^/]*/)?)", "", target)


def is_loopback(target: str) -> bool:
    """Whether an address is on this machine, in any of its spellings: no proxy has to carry calls to it."""
    if target.startswith(("unix:", "unix-abstract:", "vsock:")):
        return True
    return all(_is_local_host(each.rpartition(":")[0]) for each in _without_scheme(target).split(","))


def _is_local_host(host: str) -> bool:
    name = host.strip("[]").partition("%")[0].rstrip(".").lower()
    if name in _LOCAL_NAMES or name.endswith(".localhost") or name == socket.gethostname().lower():
        return True
    try:
        ip = ipaddress.ip_address(name)
    except ValueError:
        try:
            ip = ipaddress.ip_address(socket.inet_aton(name))  # short forms: 127.1
        except (OSError, ValueError):
            return False
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    ip = mapped or ip
    return ip.is_loopback or ip.is_unspecified
