"""Reads the requests inside the other interceptors, so that one that cannot be read ends and is logged as any other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import grpc

from headwater_server.transport.handlers import Handler, decoding


class Decoding(grpc.aio.ServerInterceptor):
    """Reads the requests of every call of one server; it keeps the handlers by the paths of their methods."""

    def __init__(self) -> None:
        self._decoding: dict[str, Handler] = {}

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
        return self._decoding.get(path) or self._decoding.setdefault(path, decoding(handler))
