"""Where a call goes: the address of a server, and what lets the caller in."""

from __future__ import annotations

import inspect
import ipaddress
import os
import re
import socket
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from headwater._grpc.tls.files import NO_FILES, TlsFiles, files_of_environment
from headwater._grpc.tracing import outgoing
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
_HTTPS = re.compile(r"https://(\[[^\]/]+\]|[^:/\[\],@?#]+)(:\d{1,5})?/?", re.IGNORECASE)
_SCHEME = "https://"
_SWITCH = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
_WITHOUT_PORT = ("unix:", "unix-abstract:", "vsock:", "xds:", "google-c2p:")


@dataclass(frozen=True, slots=True)
class Server:
    """The server of a call.

    Attributes:
        target: its address.
        token: lets the caller in; None for none.
        owner: whose channel carries the call: a `Connection`'s own; None for the one that is shared by target.
        files: of TLS, which an address that begins with https:// has.
        plaintext_token: whether secrets may leave this machine without TLS.
    """

    target: str
    token: Token | None = None
    owner: Hashable = None
    files: TlsFiles = NO_FILES
    plaintext_token: bool = False

    @property
    def has_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.target[: len(_SCHEME)].lower() == _SCHEME

    @property
    def address(self) -> str:
        """The address as gRPC takes it."""
        if not self.has_tls:
            return self.target
        address = self.target[len(_SCHEME) :].rstrip("/")
        return address if _names_a_port(address) else f"{address}:443"

    def check_secret(self, name: str) -> None:
        """Raises ValidationError where a secret, an argument or a variable, would leave this machine unencrypted."""
        if not (self.has_tls or self.plaintext_token or is_loopback(self.target)):
            encrypted = f"https://{_without_scheme(self.target).partition(',')[0]}"
            raise invalid(
                name,
                f"would go to {self.target} unencrypted; write {encrypted} as target, or "
                "allow it inside a network that you trust: plaintext_token=True of Connection, or "
                "HEADWATER_PLAINTEXT_TOKEN=true",
            )

    async def headers(self) -> tuple[tuple[str, str], ...]:
        """The metadata of a call: the token, and its origin (see `tracing`).

        Raises:
            AuthenticationError: the function that gives the token failed.
        """
        token = await _asked(self.token) if callable(self.token) else self.token
        return ((("authorization", f"Bearer {token}"),) if token else ()) + outgoing()

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


def resolve_server(
    target: str | None,
    token: Token | None,
    owner: Hashable = None,
    files: TlsFiles = NO_FILES,
    *,
    plaintext_token: bool = False,
) -> Server:
    """The server of a call, from the arguments and, without them, the environment. Raises ValidationError.

    Args:
        target: else HEADWATER_TARGET, else localhost:50051.
        token: else HEADWATER_TOKEN.
        owner: see `Server`.
        files: of TLS; else HEADWATER_CA_FILE, HEADWATER_CERT_FILE and HEADWATER_KEY_FILE.
        plaintext_token: see `Server`; else HEADWATER_PLAINTEXT_TOKEN.
    """
    address = resolve_target(target)
    named, others = "token", files_of_environment()
    if not (token := check_token(token)) and (found := os.environ.get("HEADWATER_TOKEN")):
        named, token = "HEADWATER_TOKEN", header("HEADWATER_TOKEN", found)
    server = Server(address, token, owner, files.over(others), plaintext_token or _says_plaintext())
    if not server.has_tls:
        # The variables are meant for the target of the environment; another one says itself whether it has TLS.
        for file in (files if target is not None else server.files).given():
            raise invalid(file.name, f"is for TLS, and the target {address} has none; write https:// before it")
        server = replace(server, files=NO_FILES)
    if token:
        server.check_secret(named)
    return server


def resolve_target(target: str | None) -> str:
    """The address of a call: `target`, else HEADWATER_TARGET, else localhost:50051. Raises ValidationError."""
    if target is not None:
        return check_target("target", target)
    return check_target("HEADWATER_TARGET", os.environ.get("HEADWATER_TARGET") or DEFAULT_TARGET)


def _says_plaintext() -> bool:
    said = os.environ.get("HEADWATER_PLAINTEXT_TOKEN", "").lower()
    if said and said not in _SWITCH:
        raise invalid("HEADWATER_PLAINTEXT_TOKEN", "must be true or false")
    return _SWITCH.get(said, False)


def check_target(name: str, address: Any) -> str:
    """An address that gRPC can connect to, with https:// before it for TLS. Raises ValidationError."""
    if not isinstance(address, str) or not address.isascii() or not address.isprintable() or " " in address:
        raise invalid(name, "must be an address such as localhost:50051, or https://localhost:50051 for TLS")
    if found := _HTTPS.fullmatch(address):
        if found[2] and not 0 < int(found[2][1:]) < 2**16:
            raise invalid(name, f"has no port from 1 to 65535: {address!r}")
        return address
    if not _names_a_port(address):
        what = "must be HOST:PORT, such as localhost:50051, or https://HOST:PORT for TLS"
        raise invalid(name, f"{what}, not {address!r}")
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
