"""Answers calls of methods that the server does not have, in the place of gRPC's loop, which one of them can end.

The loop of `grpc.aio` reads the method's name as UTF-8 outside of any call's own task. A name that is no UTF-8 stops
it: the port is closed, and the process lives on without it. So here the loop gets only calls of methods that the server
has, and all others are answered without a look at their names.

grpcio has no public place for this. It was written for 1.85; tests/attack/test_garbage.py fails where a later one
works otherwise.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined]

from headwater_server.transport.handlers import Context, Handler


async def _refuse(requests: AsyncIterator[bytes], context: Context) -> None:
    context.set_code(grpc.StatusCode.UNIMPLEMENTED)
    context.set_details("Method not found!")


_REFUSING: Handler = grpc.stream_stream_rpc_method_handler(_refuse)


class _Server(cygrpc.AioServer):  # type: ignore[misc]
    """gRPC's server, whose loop gets no call of a method that it does not have."""

    _refusing: asyncio.Task[None] | None = None

    def _make_request_call_future(self, method: bytes | None) -> asyncio.Future[Any]:
        if method is not None:
            future: asyncio.Future[Any] = super()._make_request_call_future(method)
            return future
        loop = asyncio.get_running_loop()
        self._refusing = loop.create_task(self._refuse_calls(), name="calls of unknown methods")
        return self._refusing

    async def _refuse_calls(self) -> Any:
        """Ends with the server, by gRPC's own error."""
        loop = asyncio.get_running_loop()
        tasks = set()
        while True:
            call = await self._request_call()
            work = cygrpc._handle_stream_stream_rpc(_REFUSING, call, loop)
            task = loop.create_task(cygrpc._schedule_rpc_coro(work, call, loop, "unknown"))
            tasks.add(task)
            task.add_done_callback(tasks.discard)


def strict_server(interceptors: Sequence[grpc.aio.ServerInterceptor], options: Any) -> grpc.aio.Server:
    """A server that is safe from them. It has the methods that are added by name: generic handlers get no call."""
    grpcs_own, cygrpc.AioServer = cygrpc.AioServer, _Server
    try:
        return grpc.aio.server(interceptors=interceptors, options=options)
    finally:
        cygrpc.AioServer = grpcs_own
