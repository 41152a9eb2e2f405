"""The gRPC servers of a process: the one on the port, with health and reflection, and the one for its siblings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2_grpc

from headwater.v1 import agent_service_pb2, worker_service_pb2, workflow_service_pb2
from headwater_server.callers.known_callers import KnownCallers
from headwater_server.telemetry.metrics import Metrics
from headwater_server.transport.certificates import Certificates, TlsFiles
from headwater_server.transport.health import SERVICE_NAME, Health
from headwater_server.transport.incoming.budget import DEFAULT_BYTES
from headwater_server.transport.incoming.reader import MAX_REQUEST_BYTES
from headwater_server.transport.incoming.turns import Turns
from headwater_server.transport.interceptors.chain import interceptors
from headwater_server.transport.port import PortTakenError, check_path, check_port, socket_path, target_of
from headwater_server.transport.reflection import add_reflection
from headwater_server.transport.unknown_methods import strict_server

MAX_METADATA_BYTES = 64 * 1024
STOP_SECONDS = 1.0
LONGEST_DRAIN_SECONDS = 86_400.0
LEAVE_SECONDS = 0.1
"""How long callers that watch the health have to go elsewhere before GOAWAY. gRPC ends each call that comes between
that and the caller's reading of it by a bare CANCELLED, whatever this server does."""
LATE_CALLS_SECONDS = 0.1
"""How long calls may be on their way when GOAWAY is sent; they are taken like those before."""
SERVICES = tuple(
    service.full_name
    for file in (agent_service_pb2, workflow_service_pb2, worker_service_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
)

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
        keepalive_seconds: how long a connection may be silent before it is asked for a sign of life. Without one within
            a third of that time it is closed: so callers are noticed whose machine or network has gone.
        max_request_bytes: of the requests of all running calls.
    """

    max_concurrent_streams: int = 2_500
    max_connections: int = 10_000
    max_pending_calls: int = 5_000
    max_connection_idle_seconds: float = 1_800.0
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


DEFAULT_LIMITS = ServerLimits()

AddService = Callable[[grpc.aio.Server], None]
"""Adds one or several services to a server."""


class GrpcServer:
    """The server on its port, from `start` to `stop`.

    Args:
        services: all of `SERVICES`.
        callers: those who may call.
        limits: how much its callers may take.
        shares_port: whether other processes listen on the port too. Then it was checked before, and is not 0.
        tls: the files of its certificate; None: it speaks no TLS.
        metrics: count the calls that fail.

    Attributes:
        port: the port listened on, once started.
    """

    def __init__(
        self,
        services: Iterable[AddService],
        callers: KnownCallers,
        limits: ServerLimits = DEFAULT_LIMITS,
        *,
        shares_port: bool = False,
        tls: TlsFiles | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self.port = 0
        self._shares_port = shares_port
        self._tls = tls
        self._certificates: Certificates | None = None
        self._leaving: asyncio.Task[None] | None = None
        # gRPC shares ports by itself; one that is taken must be an error instead.
        options = [*OPTIONS, *limits.options(), ("grpc.so_reuseport", int(shares_port))]
        self._turns = Turns()
        chain = interceptors(callers, limits.max_request_bytes, self._turns, metrics)
        self._server = strict_server(chain, options=options)
        self._health = Health()
        self._has_started = False
        for add in services:
            add(self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        add_reflection((*SERVICES, SERVICE_NAME), self._server)

    async def start(self, host: str, port: int) -> None:
        """Listens, then says it is healthy. Raises PortTakenError and CertificateError."""
        if path := socket_path(host):
            check_path(path)
        elif not self._shares_port:
            check_port(host, port)
        address = target_of(host, port)
        try:
            if self._tls is None:
                self.port = self._server.add_insecure_port(address)
            else:
                self._certificates = Certificates(self._tls)
                self.port = self._server.add_secure_port(address, self._certificates.credentials)
        except RuntimeError as error:
            raise PortTakenError(f"cannot listen on {address}: gRPC could not bind it") from error
        await self._server.start()
        self._turns.start()
        for name in ("", *SERVICES):
            self._health.set(name, serving=True)
        self._has_started = True

    @property
    def is_ready(self) -> bool:
        """Whether it takes calls: it has started, and does not end."""
        return self._has_started and not self._health.ends

    async def report_health(self, service: str, serving: bool) -> None:
        """Says to health checks whether a service can do its work."""
        self._health.set(service, serving=serving)

    async def announce_end(self) -> None:
        """Says NOT_SERVING, then closes the port and sends each client GOAWAY: its calls continue, its next one goes to
        another address.
        """
        self._health.end()
        await asyncio.sleep(LEAVE_SECONDS)
        # gRPC ends what runs after this time; `stop` comes before that.
        self._leaving = asyncio.create_task(self._server.stop(LONGEST_DRAIN_SECONDS))
        await asyncio.sleep(LATE_CALLS_SECONDS)

    async def stop(self) -> None:
        """Closes the port and all connections; calls that still run get a moment to send their status."""
        self._turns.stop()
        await self._server.stop(STOP_SECONDS)
        if self._leaving:
            await self._leaving


class SiblingServer:
    """The server on this process's socket, for the calls that its siblings pass on, from `start` to `stop`.

    Args:
        services: the services of this process.
        callers: those who may call; each call brings the token of its caller along.
        most_request_bytes: that the requests of all running calls may have together.
        metrics: count the calls that fail.
    """

    def __init__(
        self,
        services: Iterable[AddService],
        callers: KnownCallers,
        most_request_bytes: int = DEFAULT_BYTES,
        metrics: Metrics | None = None,
    ) -> None:
        chain = interceptors(callers, most_request_bytes, metrics=metrics)
        self._server = grpc.aio.server(interceptors=chain, options=SIBLING_OPTIONS)
        for add in services:
            add(self._server)

    async def start(self, socket: Path) -> None:
        """Listens; a socket that a process left there before is replaced. Raises PortTakenError."""
        try:
            self._server.add_insecure_port(f"unix:{socket}")
        except RuntimeError as error:
            raise PortTakenError(f"cannot listen on {socket}: gRPC could not bind it") from error
        await self._server.start()

    async def stop(self) -> None:
        """Closes the socket and all connections; calls that still run get a moment to send their status."""
        await self._server.stop(STOP_SECONDS)
