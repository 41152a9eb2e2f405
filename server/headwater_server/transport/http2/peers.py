"""The other side of a connection: its address, and its certificate."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from functools import cached_property
from ipaddress import IPv6Address
from typing import Any
from urllib.parse import quote

IDENTITY_KEYS = ("x509_subject_alternative_name", "x509_common_name")
"""The names of a certificate by which a peer is known, the first that it has."""


class Peer:
    """The peer of a connection.

    Args:
        address: as the socket has it: host and port, or the path of a Unix socket.
        tls: the TLS of the connection; None: there is none.

    Attributes:
        name: the address as gRPC writes it: `ipv4:127.0.0.1:5000`, `ipv6:%5B::1%5D:5000`, `unix:`;
            empty for a peer that has gone.
    """

    def __init__(self, address: Any, tls: ssl.SSLObject | None) -> None:
        self.name = _name(address)
        self._tls = tls

    @cached_property
    def auth_context(self) -> Mapping[str, Sequence[bytes]]:
        """The facts of its certificate by gRPC's names; empty without TLS."""
        if self._tls is None:
            return {}
        facts: dict[str, list[bytes]] = {"transport_security_type": [b"ssl"]}
        found: Any = self._tls.getpeercert()
        if not found:
            return facts
        subject = [entry for part in found.get("subject", ()) for entry in part]
        if names := [value.encode() for key, value in subject if key == "commonName"]:
            facts["x509_common_name"] = names[:1]
        if names := [value.encode() for _, value in found.get("subjectAltName", ())]:
            facts["x509_subject_alternative_name"] = names
        facts["x509_pem_cert"] = [ssl.DER_cert_to_PEM_cert(self._tls.getpeercert(binary_form=True) or b"").encode()]
        return facts

    @property
    def identity_key(self) -> str | None:
        """The key of the names by which the peer is known; None for one without a certificate."""
        return next((key for key in IDENTITY_KEYS if key in self.auth_context), None)


def _name(address: Any) -> str:
    if address is None:
        return ""  # the socket was closed early; that is no path
    if not isinstance(address, tuple):
        return "unix:"
    host, port = address[:2]
    if ":" not in host:
        return f"ipv4:{host}:{port}"
    if (mapped := IPv6Address(host.partition("%")[0]).ipv4_mapped) is not None:
        return f"ipv4:{mapped}:{port}"
    return f"ipv6:{quote(f'[{host}]', safe=':')}:{port}"
