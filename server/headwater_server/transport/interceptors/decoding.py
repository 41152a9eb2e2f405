"""Reads the requests inside the other interceptors, so that one that cannot be read ends and is logged as any other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from headwater_server.transport.handlers import Context, Handler, behaviour_of, remake
from headwater_server.transport.http2.calls.context import Context as LeanContext
from headwater_server.transport.incoming.arrivals import Arrivals
from headwater_server.transport.incoming.budget import RequestBudget
from headwater_server.transport.incoming.reader import RequestReader
from headwater_server.transport.incoming.turns import Turns


class Decoding(grpc.aio.ServerInterceptor):
    """Reads the requests of every call of one server; it keeps the handlers by the paths of their methods.

    Args:
        most_bytes: that the requests of all running calls may have together.
        turns: says which calls have waited too long.
    """

    by_method = True

    def __init__(self, most_bytes: int, turns: Turns) -> None:
        self._turns = turns
        self._budget = RequestBudget(most_bytes)
        self._arrivals = Arrivals(self._budget)
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
            make = self._many if handler.request_streaming else self._one
            known = self._reading[path] = make(handler, reader)
        return known

    def _one(self, handler: Handler, reader: RequestReader) -> Handler:
        """A handler of one request, read here as a stream of one: gRPC would keep the bytes to the end of the call."""
        behaviour, budget, receive, turns = behaviour_of(handler), self._budget, self._arrivals.receive, self._turns

        async def one(_: Any, context: Context) -> Any:
            turns.check()
            raw = context.call.take() if isinstance(context, LeanContext) else None
            if raw is None:
                raw = await receive(context)
            message, size = reader.weigh(raw)
            del raw
            budget.begin(size)
            try:
                work = behaviour(message, context)
                del message  # the handler may free it before its reply ends
                return await work
            finally:
                budget.taken -= size

        return remake(handler, one, None, True)

    def _many(self, handler: Handler, reader: RequestReader) -> Handler:
        behaviour, turns = behaviour_of(handler), self._turns

        async def many(requests: Any, context: Context) -> Any:
            turns.check()
            try:
                return await behaviour(requests, context)
            finally:
                # Frees the last request: the iterator and its generator refer to each other.
                await requests.__aiter__().aclose()

        return remake(handler, many, reader.read, True)
