"""The gRPC server: its port, its options, health and reflection."""

from __future__ import annotations

import socket

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from headwater.v1 import (
    agent_service_pb2,
    agent_service_pb2_grpc,
    worker_service_pb2,
    worker_service_pb2_grpc,
    workflow_service_pb2,
    workflow_service_pb2_grpc,
)
from headwater_server.transport.agent_service import AgentService
from headwater_server.transport.worker_service import WorkerService
from headwater_server.transport.workflow_service import WorkflowService

MAX_REQUEST_BYTES = 32 * 1024 * 1024
SERVICES = tuple(
    service.full_name
    for file in (agent_service_pb2, workflow_service_pb2, worker_service_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
)

OPTIONS = (
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    # Clients may ping every 10 s, with or without a call: no strikes.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    # Notice callers whose machine or network has gone.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    # A taken port is an error, not shared in silence.
    ("grpc.so_reuseport", 0),
)


class PortTakenError(Exception):
    """The address cannot be listened on; the message is one line for people."""


class GrpcServer:
    """The server on its port, from `start` to `stop`.

    Attributes:
        port: the port listened on, once started.
    """

    def __init__(self, agents: AgentService, workflows: WorkflowService, workers: WorkerService) -> None:
        self.port = 0
        self._server = grpc.aio.server(options=OPTIONS)
        self._health = health.aio.HealthServicer()
        agent_service_pb2_grpc.add_AgentServiceServicer_to_server(agents, self._server)
        workflow_service_pb2_grpc.add_WorkflowServiceServicer_to_server(workflows, self._server)
        worker_service_pb2_grpc.add_WorkerServiceServicer_to_server(workers, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)

    async def start(self, host: str, port: int) -> None:
        """Listens, then says it is healthy. Raises PortTakenError."""
        _try_bind(host, port)
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            self.port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise PortTakenError(f"cannot listen on {address}: gRPC could not bind it") from error
        await self._server.start()
        for name in ("", *SERVICES):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def announce_end(self) -> None:
        """Tells health checks that no new work is taken."""
        await self._health.enter_graceful_shutdown()

    async def stop(self) -> None:
        """Closes the port and all connections; calls that still run get a moment to send their status."""
        await self._server.stop(1.0)


def _try_bind(host: str, port: int) -> None:
    """Binds the address and lets go of it: the system's own words for what is wrong, before gRPC's pages of them."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not the name of a host"
        cure = "choose with --host and --port"
        raise PortTakenError(f"cannot listen on {host}:{port}: {why or error}; {cure}") from error
