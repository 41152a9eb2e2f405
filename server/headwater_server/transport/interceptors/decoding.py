"""Reads the requests inside the other interceptors, so that one that cannot be read ends and is logged as any other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import grpc

from headwater_server.transport.handlers import Handler, reading
from headwater_server.transport.incoming.budget import RequestBudget
from headwater_server.transport.incoming.reader import RequestReader


class Decoding(grpc.aio.ServerInterceptor):
    """Reads the requests of every call of one server; it keeps the handlers by the paths of their methods.

    Args:
        most_bytes: that the requests of all running calls may have together.
    """

    def __init__(self, most_bytes: int) -> None:
        self._budget = RequestBudget(most_bytes)
        self._reading: dict[str, Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Returns the handler that reads its requests; None for a method that the server does not have."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        path = handler_call_details.method
        known = self._reading.get(path)
        if known is None:
            reader = RequestReader(path, handler.request_deserializer)
            known = self._reading[path] = reading(handler, reader, self._budget)
        return known
