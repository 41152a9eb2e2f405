"""The health of the services, as gRPC's health protocol asks for it.

grpcio's own servicer has no List, and holds a lock while it writes to a watcher: one that does not read would hold up
every change of the health, and so the end of the server.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from headwater_server.transport.handlers import Context

SERVICE_NAME = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name

Answer = health_pb2.HealthCheckResponse


class Health(health_pb2_grpc.HealthServicer):
    """The health of each service by its name; the empty name is the server."""

    def __init__(self) -> None:
        self._status: dict[str, Any] = {"": Answer.SERVING}
        self._ends = False
        self._news = asyncio.Event()

    @property
    def ends(self) -> bool:
        """Whether the server ends."""
        return self._ends

    def set(self, service: str, *, serving: bool) -> None:
        """Says whether a service can do its work; nothing once the server ends."""
        if not self._ends:
            self._status[service] = Answer.SERVING if serving else Answer.NOT_SERVING
            self._wake()

    def end(self) -> None:
        """Says NOT_SERVING of all services from now on."""
        self._ends = True
        self._status = dict.fromkeys(self._status, Answer.NOT_SERVING)
        self._wake()

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Context) -> Answer:  # noqa: N802
        """Answers for one service; NOT_FOUND for one that the server does not have."""
        status = self._status.get(request.service)
        if status is None:
            context.set_code(grpc.StatusCode.NOT_FOUND)
            context.set_details("the server has no such service; with an empty name it answers for all")
        return Answer(status=status)

    async def List(self, request: Any, context: Context) -> Any:  # noqa: N802
        """Answers for all services."""
        statuses = {name: Answer(status=status) for name, status in self._status.items()}
        return health_pb2.HealthListResponse(statuses=statuses)  # type: ignore[attr-defined]  # its stubs are older

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Context) -> None:  # noqa: N802
        """Writes the health of a service now and at each change; a reader that is slow misses those between."""
        last = None
        while True:
            news, status = self._news, self._status.get(request.service, Answer.SERVICE_UNKNOWN)
            if status != last:
                await context.write(Answer(status=status))
                last = status
            else:
                await news.wait()
