"""The methods of a server: which handler a call has, with the interceptors around it, and how it runs."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, NamedTuple

import grpc
from grpc import aio

from headwater_server.transport.http2.calls.context import Context, Requests
from headwater_server.transport.http2.calls.metadata import Head, Metadatum

_KINDS = {
    (False, False): "unary_unary",
    (False, True): "unary_stream",
    (True, False): "stream_unary",
    (True, True): "stream_stream",
}
"""The attribute of a handler with its behaviour, by whether it streams requests and responses."""

log = logging.getLogger(__name__)


class _Details(NamedTuple):
    """The facts of a call for interceptors and generic handlers."""

    method: str
    invocation_metadata: Sequence[Metadatum]


class Methods:
    """The methods of one server.

    Args:
        interceptors: around each method, outermost first. Where all of them have a true attribute `by_method`, which
            says that their answer depends on the method alone, they are asked once a method.
        begun: called with each call that begins.
        ended: called with each call whose handler has ended without a fault, when its status is on its way.
    """

    def __init__(
        self,
        interceptors: Sequence[aio.ServerInterceptor],
        begun: Callable[[Context], object],
        ended: Callable[[Context], object],
    ) -> None:
        self._begun, self._ended = begun, ended
        self._interceptors = tuple(interceptors)
        self._by_method = all(getattr(one, "by_method", False) for one in interceptors)
        self._surrounded: dict[str, Any] = {}
        self._named: dict[str, Any] = {}
        self._generic: list[grpc.GenericRpcHandler] = []

    def add_named(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Adds the methods of a service."""
        self._named.update({f"/{service}/{name}": handler for name, handler in handlers.items()})

    def add_generic(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Adds handlers that are asked for methods without a name here."""
        self._generic.extend(handlers)

    def find(self, path: str, metadata: Sequence[Metadatum]) -> Any:
        """The handler of a method; None for a method that there is not."""
        handler = self._named.get(path)
        if handler is None:
            details: Any = _Details(path, metadata)
            for generic in self._generic:
                if (handler := generic.service(details)) is not None:
                    break
        return handler

    async def answer(self, context: Context) -> None:
        """Runs the handler of a call, and ends the call."""
        self._begun(context)
        call = context.call
        try:
            handler = self._surrounded.get(call.head.path) or await self._surround(call.head)
            if handler is None:
                call.finish(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
                return
            context.use(handler)
            if handler.request_streaming:
                request: Any = Requests(context)
            elif (request := await _only_request(context)) is aio.EOF:
                return
            result = getattr(handler, _KINDS[handler.request_streaming, handler.response_streaming])(request, context)
            del request
            if not handler.response_streaming:
                await _write_one(result, context)
            elif hasattr(result, "__aiter__"):
                await _write_all(result, context)
            else:
                await result
            context.finish()
            self._ended(context)
        except aio.AbortError:
            context.finish()
        except Exception as error:
            if call.has_left:
                return
            log.exception("Unexpected [%s] raised by servicer method [%s]", type(error).__name__, call.head.path)
            call.finish(grpc.StatusCode.UNKNOWN, f"Unexpected {type(error)}: {error}")

    async def _surround(self, head: Head) -> Any:
        """The handler of a call with all interceptors around it."""
        details: Any = _Details(head.path, head.metadata)
        handler = await self._inside(0, details)
        if self._by_method and head.path in self._named:
            self._surrounded[head.path] = handler
        return handler

    async def _inside(self, depth: int, details: Any) -> Any:
        """The handler with the interceptors from this depth on around it."""
        if depth == len(self._interceptors):
            return self.find(details.method, details.invocation_metadata)
        inner = partial(self._inside, depth + 1)
        return await self._interceptors[depth].intercept_service(inner, details)


async def _only_request(context: Context) -> Any:
    """The request of a call that has one; `grpc.aio.EOF` when it has none or a bad one, and is ended for it."""
    try:
        request = await context.read()
    except Exception:  # noqa: BLE001  as gRPC's own servers do
        context.call.finish(grpc.StatusCode.INTERNAL, "Exception deserializing request!")
        return aio.EOF
    if request is aio.EOF:
        context.call.finish(grpc.StatusCode.INTERNAL, "the call has no request; send one message")
    else:
        context.call.read_no_more()
    return request


async def _write_one(result: Awaitable[Any], context: Context) -> None:
    response = await result
    if context.code() is grpc.StatusCode.OK:
        writing = context.write_last(response)
        del response  # the caller may take its bytes late
        await writing


async def _write_all(result: Any, context: Context) -> None:
    async with aclosing(result):
        async for response in result:
            await context.write(response)
