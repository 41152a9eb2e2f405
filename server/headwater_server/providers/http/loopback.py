"""Addresses of this host in all their spellings: no proxy has to carry a request to one."""

from __future__ import annotations

import ipaddress
import socket
from functools import lru_cache

_NAMES = (
    "localhost",
    "localhost.localdomain",
    "localhost4",
    "localhost4.localdomain4",
    "localhost6",
    "localhost6.localdomain6",
    "ip6-localhost",
    "ip6-loopback",
)


@lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Whether the host of a URL is this one."""
    name = host.strip("[]").partition("%")[0].rstrip(".").lower()
    if name in _NAMES or name.endswith(".localhost") or name == socket.gethostname().lower():
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
