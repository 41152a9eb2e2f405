"""The two kinds of servers, and the limits of both.

`grpcio` is gRPC's own, in C++ beneath `grpc.aio`; `lean` is `transport.http2`, which serves in the event loop itself.
Services, interceptors and callers see no difference; docs/adr/0022-a-front-in-the-event-loop.md compares them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import grpc

from headwater_server.transport.certificates import Certificates
from headwater_server.transport.http2.limits import Limits
from headwater_server.transport.http2.server import Server
from headwater_server.transport.incoming.budget import DEFAULT_BYTES
from headwater_server.transport.incoming.reader import MAX_REQUEST_BYTES
from headwater_server.transport.unknown_methods import strict_server

FrontName: TypeAlias = Literal["grpcio", "lean"]
GRPCIO: FrontName = "grpcio"
LEAN: FrontName = "lean"

MAX_METADATA_BYTES = 64 * 1024
# A call that has waited for its turn as long as its caller allows is still better than one that gRPC ends by a bare
# CANCELLED after 30 seconds. In seconds.
_WAITING = (("grpc.server_max_unrequested_time_in_server", 86_400),)
_UNLIMITED = 2**31 - 1
_FLOOD = 2_000
"""From so many streams on, the limit of a connection is there to stop floods, and not to spread calls."""
# Between gRPC's own two limits, 8 and 16 KiB, a call is refused by chance. Tokens with many claims are longer.
_METADATA = (
    ("grpc.max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
)
OPTIONS = (
    *_WAITING,
    *_METADATA,
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    # Clients may ping every 10 s, with or without a call: no strikes.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    # A connection that says nothing.
    ("grpc.server_handshake_timeout_ms", 20_000),
    ("grpc.http2.settings_timeout", 20_000),
)
SIBLING_OPTIONS = (
    *_WAITING,
    ("grpc.server.max_pending_requests", _UNLIMITED),
    ("grpc.server.max_pending_requests_hard_limit", _UNLIMITED),
    # The process that the call came to has checked its size.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_metadata_size", 2 * MAX_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", 2 * MAX_METADATA_BYTES),
    # A window that grows would take in megabytes from a worker before anything reads them.
    ("grpc.http2.bdp_probe", 0),
)


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """How much of a process its callers may take together.

    Attributes:
        max_concurrent_streams: calls at once on a connection; the further ones wait at the caller. 0: no limit.
        max_connections: connections; the further ones are closed. 0: no limit.
        max_pending_calls: calls that have not begun; gRPC ends the further ones by CANCELLED. 0: no limit.
        max_connection_idle_seconds: how long a connection may be without a call; 0: for ever.
        max_connection_age_seconds: how old a connection may be before its caller is asked to make another; 0: for ever.
        max_connection_age_grace_seconds: how long the calls of an old connection may still run.
        keepalive_seconds: how long a connection may be silent before it is asked for a sign of life. Without one within
            a third of that time it is closed: so callers are noticed whose machine or network has gone.
        max_request_bytes: of the requests of all running calls.
    """

    max_concurrent_streams: int = 2_500
    max_connections: int = 10_000
    max_pending_calls: int = 5_000
    max_connection_idle_seconds: float = 1_800.0
    max_connection_age_seconds: float = 0.0
    max_connection_age_grace_seconds: float = 3_600.0
    keepalive_seconds: float = 30.0
    max_request_bytes: int = DEFAULT_BYTES

    def options(self) -> Iterator[tuple[str, int]]:
        """The limits as gRPC's options."""
        pending = self.max_pending_calls or _UNLIMITED
        yield "grpc.server.max_pending_requests", pending
        yield "grpc.server.max_pending_requests_hard_limit", pending
        yield "grpc.keepalive_time_ms", int(self.keepalive_seconds * 1000)
        yield "grpc.http2.ping_timeout_ms", int(self.keepalive_seconds * 1000 / 3)
        if self.max_concurrent_streams:
            yield "grpc.max_concurrent_streams", self.max_concurrent_streams
            # The protection counts streams that were reset and wait for their turn too. It also refuses some calls of
            # an honest caller at its limit, which matters where the limit is low.
            yield "grpc.http.overload_protection", int(self.max_concurrent_streams >= _FLOOD)
        if self.max_connections:
            yield "grpc.max_allowed_incoming_connections", self.max_connections
        if self.max_connection_idle_seconds:
            yield "grpc.max_connection_idle_ms", max(1, int(self.max_connection_idle_seconds * 1000))
        if self.max_connection_age_seconds:
            yield "grpc.max_connection_age_ms", max(1, int(self.max_connection_age_seconds * 1000))
            yield "grpc.max_connection_age_grace_ms", int(self.max_connection_age_grace_seconds * 1000)

    def of_lean(self) -> Limits:
        """The limits for the lean server."""
        return Limits(
            max_streams=self.max_concurrent_streams,
            max_connections=self.max_connections,
            max_pending_calls=self.max_pending_calls,
            max_message_bytes=MAX_REQUEST_BYTES,
            max_held_bytes=2 * self.max_request_bytes,
            max_unsent_bytes=self.max_request_bytes,
            max_header_bytes=MAX_METADATA_BYTES,
            keepalive_seconds=self.keepalive_seconds,
            keepalive_timeout_seconds=self.keepalive_seconds / 3,
            idle_seconds=self.max_connection_idle_seconds,
            age_seconds=self.max_connection_age_seconds,
            age_grace_seconds=self.max_connection_age_grace_seconds,
        )


DEFAULT_LIMITS = ServerLimits()


def public_server(
    front: FrontName, chain: Sequence[grpc.aio.ServerInterceptor], limits: ServerLimits, *, shares_port: bool
) -> grpc.aio.Server:
    """The server for the port.

    Args:
        front: its kind.
        chain: its interceptors.
        limits: how much its callers may take.
        shares_port: whether other processes listen on the port too.
    """
    if front == LEAN:
        return Server(chain, limits.of_lean(), shares_port=shares_port)
    # gRPC shares ports by itself; one that is taken must be an error instead.
    options = [*OPTIONS, *limits.options(), ("grpc.so_reuseport", int(shares_port))]
    return strict_server(chain, options=options)


def sibling_server(front: FrontName, chain: Sequence[grpc.aio.ServerInterceptor]) -> grpc.aio.Server:
    """The server for the calls that other processes pass on."""
    if front == LEAN:
        return Server(chain, Limits(max_message_bytes=0, max_header_bytes=2 * MAX_METADATA_BYTES))
    return grpc.aio.server(interceptors=chain, options=SIBLING_OPTIONS)


def tls_of(front: FrontName, certificates: Certificates) -> Any:
    """The certificates as the server takes them."""
    return certificates.for_python() if front == LEAN else certificates.for_grpc()
