"""Which addresses may be handed to a provider that fetches them.

Theory of operation. Programs read the same address differently: `http://0x7f.1/` is 127.0.0.1 to some and a name to
others, and a user before an `@` looks like a host. So an address must first be written in the one way that all programs
read alike; any other form is refused, wherever it leads. Then its host is judged: a number by the registries of special
addresses, a name by its ending. Nothing is looked up: a public name may lead to a private address, and only the program
that connects can see that.

Example: `http://127.0.0.1./`, `http://[::ffff:7f00:1]/` and `http://localhost/` are private. `http://2130706433/` and
`http://a@b/` have no form that all read alike. `https://example.org/a.png` is well.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from urllib.parse import urlsplit

_V4_NETWORKS = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
            "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24",
            "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32",
        ),
    )
)  # fmt: skip
"""IANA's registry of special IPv4 addresses, multicast, and the address of Azure's machines for themselves."""

_V6_PUBLIC = ipaddress.IPv6Network("2000::/3")
_V6_SPECIAL = tuple(map(ipaddress.IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))
"""IPv6 addresses are public in 2000::/3 alone, without IANA's special ones there. Those that stand for IPv4 addresses,
such as `::ffff:127.0.0.1`, are none."""

_PRIVATE_ENDINGS = frozenset(
    {"localhost", "local", "localdomain", "internal", "intranet", "private", "corp", "home", "lan", "arpa", "onion"}
)
"""Last pieces of names that no public server has: RFC 6762 and 6761, ICANN's `internal`, and customs of networks."""

_PIECE = re.compile(r"\w(?:[\w-]{0,61}\w)?")
_LONGEST_NAME = 253
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_DECIMAL = re.compile(r"(?:0|[1-9][0-9]{0,2})(?:\.(?:0|[1-9][0-9]{0,2})){3}")
_BRACKETS = re.compile(r"\[[^\[\]]*\](:[0-9]*)?")
_UNREADABLE = re.compile(r"[\x00-\x20\x7f\\]")

FORM = "write it as https://HOST/PATH"
NOT_PUBLIC = "is not public"
"""The end of the message about an address in a private network."""


def mistake_of(url: str, *, allow_private: bool = False) -> str:
    """Why an address that begins with a scheme and `//` may not be handed on, with the cure; empty when it may.

    Args:
        url: the address.
        allow_private: whether it may lead into a private network.
    """
    if _UNREADABLE.search(url):
        return "holds a space, a control character or a backslash; percent-encode it"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return f"is not an address: its host or its port cannot be read; {FORM}"
    if "@" in parts.netloc:
        return f"must hold no user and no password; {FORM}"
    if not host:
        return f"names no host; {FORM}"
    if "[" in parts.netloc:
        if not _BRACKETS.fullmatch(parts.netloc):
            return f"is not an address: its host cannot be read; {FORM}"
        return _mistake_of_v6(host, allow_private)
    return _mistake_of_name(host, allow_private)


def _mistake_of_name(host: str, allow_private: bool) -> str:
    name = _folded(host).removesuffix(".")
    if name.isascii() != host.isascii():
        return f"has a host in signs that stand for those of ASCII; {FORM}"
    pieces = name.split(".")
    if not all(map(_PIECE.fullmatch, pieces)) or len(name) > _LONGEST_NAME or any(map(_hides_ascii, pieces)):
        return f"has a host that is no name and no address; {FORM}"
    if _NUMBER.fullmatch(pieces[-1]):
        if not _DECIMAL.fullmatch(name):
            return (
                "has an address as host that programs read differently; write four decimal numbers, such as 192.0.2.1"
            )
        try:
            address = ipaddress.IPv4Address(name)
        except ValueError:
            return "has a host that is no address: a number is over 255"
        return "" if allow_private or is_public(address) else _private(f"the address {address}")
    if allow_private or (len(pieces) > 1 and pieces[-1] not in _PRIVATE_ENDINGS):
        return ""
    return _private(f"the name {name[:100]}")


def _mistake_of_v6(host: str, allow_private: bool) -> str:
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError:
        return "has a host that is no address of IPv6"
    if address.scope_id:
        return "has a host with a zone, which means something on one machine alone; leave the zone out"
    return "" if allow_private or is_public(address) else _private(f"the address {address}")


def _private(host: str) -> str:
    return f"leads to {host}, which {NOT_PUBLIC}"


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether an address is one of the public Internet."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _V4_NETWORKS)
    return address in _V6_PUBLIC and not any(address in network for network in _V6_SPECIAL)


def _hides_ascii(piece: str) -> bool:
    """Whether a piece of a name in the form xn--… stands for signs of ASCII, or for those that are read as such."""
    if not piece.startswith("xn--"):
        return False
    try:
        decoded = piece[4:].encode("ascii").decode("punycode")
    except UnicodeError:
        return True
    return _folded(decoded).isascii() or "." in _folded(decoded)


def _folded(host: str) -> str:
    """A host with the signs that programs read as those of ASCII (wide letters, digits of any script) replaced by them,
    and without signs that they pass over.
    """
    if host.isascii():
        return host
    signs = unicodedata.normalize("NFKC", host).lower().replace("\u3002", ".")
    kept = (sign for sign in signs if unicodedata.category(sign) not in ("Mn", "Me", "Cf"))
    return "".join(str(unicodedata.decimal(sign, sign)) for sign in kept)
