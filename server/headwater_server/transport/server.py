"""The gRPC servers of a process: the one on the port, with health and reflection, and the one for its siblings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2_grpc

from headwater.v1 import agent_service_pb2, operator_service_pb2, worker_service_pb2, workflow_service_pb2
from headwater_server.callers.known_callers import Door, KnownCallers
from headwater_server.telemetry.metrics import Metrics
from headwater_server.telemetry.tracing.spans import Tracer
from headwater_server.transport.certificates import Certificates, TlsFiles
from headwater_server.transport.fronts import (
    DEFAULT_LIMITS,
    GRPCIO,
    FrontName,
    ServerLimits,
    public_server,
    sibling_server,
    tls_of,
)
from headwater_server.transport.health import SERVICE_NAME, Health
from headwater_server.transport.incoming.budget import DEFAULT_BYTES
from headwater_server.transport.incoming.turns import Turns
from headwater_server.transport.interceptors.chain import interceptors
from headwater_server.transport.port import PortTakenError, check_path, check_port, socket_path, target_of
from headwater_server.transport.reflection import add_reflection

STOP_SECONDS = 1.0
LONGEST_DRAIN_SECONDS = 86_400.0
LEAVE_SECONDS = 0.1
"""How long callers that watch the health have to go elsewhere before GOAWAY. gRPC ends each call that comes between
that and the caller's reading of it by a bare CANCELLED, whatever this server does."""
LATE_CALLS_SECONDS = 0.1
"""How long calls may be on their way when GOAWAY is sent; they are taken like those before."""
SERVICES = tuple(
    service.full_name
    for file in (agent_service_pb2, workflow_service_pb2, worker_service_pb2, operator_service_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
)

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
        reflection: whether callers may ask which methods there are.
        metrics: count the calls that fail.
        front: the kind of server.
        tracer: makes spans of calls; None: there are no traces.

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
        reflection: bool = True,
        metrics: Metrics | None = None,
        front: FrontName = GRPCIO,
        tracer: Tracer | None = None,
    ) -> None:
        self.port = 0
        self._front = front
        self._shares_port = shares_port
        self._tls = tls
        self._certificates: Certificates | None = None
        self._leaving: asyncio.Task[None] | None = None
        self._turns = Turns()
        chain = interceptors(callers, limits.max_request_bytes, self._turns, metrics, tracer, callers.running)
        self._server = public_server(front, chain, limits, shares_port=shares_port)
        self._health = Health()
        self._has_started = False
        for add in services:
            add(self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if reflection:
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
                self.port = self._server.add_secure_port(address, tls_of(self._front, self._certificates))
        except RuntimeError as error:
            raise PortTakenError(f"cannot listen on {address}: it cannot be bound") from error
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
        door: says whose a call is.
        most_request_bytes: that the requests of all running calls may have together.
        metrics: count the calls that fail.
        front: the kind of server.
        tracer: makes spans of calls; None: there are no traces.
    """

    def __init__(
        self,
        services: Iterable[AddService],
        door: Door,
        most_request_bytes: int = DEFAULT_BYTES,
        metrics: Metrics | None = None,
        front: FrontName = GRPCIO,
        tracer: Tracer | None = None,
    ) -> None:
        chain = interceptors(door, most_request_bytes, metrics=metrics, tracer=tracer)
        self._server = sibling_server(front, chain)
        for add in services:
            add(self._server)

    async def start(self, socket: Path) -> None:
        """Listens; a socket that a process left there before is replaced. Raises PortTakenError."""
        try:
            self._server.add_insecure_port(f"unix:{socket}")
        except RuntimeError as error:
            raise PortTakenError(f"cannot listen on {socket}: it cannot be bound") from error
        await self._server.start()

    async def stop(self) -> None:
        """Closes the socket and all connections; calls that still run get a moment to send their status."""
        await self._server.stop(STOP_SECONDS)
