"""Whether other machines reach the port, and whether it needs TLS."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator, Mapping

from headwater_server.config.settings import ServerSettings

UNIX = "unix:"


def mistakes_of_doors(server: ServerSettings, origins: Mapping[tuple[str, ...], str]) -> Iterator[str]:
    """A mistake for each setting of TLS that misses another, and for a port without TLS that other machines reach.

    Args:
        server: the settings.
        origins: where each setting comes from, by its path.
    """

    def named(key: str) -> str:
        return origins.get(("server", key), f"server.{key}")

    if server.tls_cert_file and not server.tls_key_file:
        yield f"{named('tls_cert_file')}: needs tls_key_file, the file of its private key"
    if server.tls_key_file and not server.tls_cert_file:
        yield f"{named('tls_key_file')}: needs tls_cert_file, the file of its certificate"
    if server.tls_client_ca_file and not server.tls_cert_file:
        yield f"{named('tls_client_ca_file')}: needs tls_cert_file and tls_key_file; only TLS has certificates"
    if server.tls_client_auth == "optional" and not server.tls_client_ca_file:
        yield f"{named('tls_client_auth')}: needs tls_client_ca_file, the authorities of these certificates"
    if server.tls_client_auth == "optional" and server.front != "lean":
        yield f'{named("tls_client_auth")}: gRPC\'s own server cannot ask without requiring; set front = "lean"'
    if server.tls_cert_file and server.host.startswith(UNIX):
        yield f"{named('tls_cert_file')}: a Unix socket takes no TLS; leave it out, or set host to an address"
    if not (server.tls_cert_file or server.insecure or is_private(server.host)):
        yield (
            f"{named('host')}: {server.host} can be reached from other machines, and there is no TLS; set "
            "tls_cert_file and tls_key_file (`headwater dev-cert` makes them for a try), or insecure = true where only "
            "callers that you trust reach the port"
        )
    if server.admin_address and not (server.admin_insecure or is_private(admin_host := admin_place(server)[0])):
        yield (
            f"{named('admin_address')}: {admin_host} can be reached from other machines, and all may read its pages; "
            "choose 127.0.0.1, or set admin_insecure = true where only programs that you trust reach it"
        )


def needs_no_caller(server: ServerSettings) -> bool:
    """Whether those who reach the port are known without callers: programs here, or holders of a certificate."""
    return is_private(server.host) or bool(server.tls_client_ca_file and server.tls_client_auth == "required")


def admin_place(server: ServerSettings) -> tuple[str, int]:
    """The host and the port of `admin_address`."""
    host, _, port = server.admin_address.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def is_private(host: str) -> bool:
    """Whether the host of a listener is a Unix socket or a loopback address: no other machine reaches it.

    A name other than localhost is not: its address may change.
    """
    if host.startswith(UNIX) or host.lower().rstrip(".") == "localhost":
        return True
    try:
        found = socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)  # asks no name server; knows 127.1
    except (OSError, UnicodeError):
        return False
    return all(_is_loopback(str(address[0])) for *_, address in found)


def _is_loopback(address: str) -> bool:
    ip = ipaddress.ip_address(address.partition("%")[0])
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_loopback
