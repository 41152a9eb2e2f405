"""The handlers of methods, as gRPC has them, how to put something around one, and how it reads its requests."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc

from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.transport.incoming.budget import RequestBudget
from headwater_server.transport.incoming.reader import RequestReader

Context = grpc.aio.ServicerContext[Any, Any]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

Behaviour = Callable[[Any, Context], Awaitable[Any]]
"""Answers a call: returns its one reply, or writes many to the context.

Its first argument is the request, or an iterator of requests.
"""


def surround(handler: Handler, around: Callable[[Behaviour], Behaviour]) -> Handler:
    """Returns the handler with the behaviour that `around` makes of its present one."""
    return _make(handler, around(_behaviour(handler)), handler.request_deserializer, handler.request_streaming)


def reading(handler: Handler, reader: RequestReader, budget: RequestBudget) -> Handler:
    """Returns the handler whose requests the reader reads, one that cannot be read being an error of the caller.

    gRPC would report that as a fault of the server. It would also keep the bytes of a single request to the end of the
    call; this reads it as a stream of one.
    """
    behaviour = _behaviour(handler)

    async def one(_: Any, context: Context) -> Any:
        message, size = reader.weigh(await _receive(context))
        with budget.taking(size):
            work = behaviour(message, context)
            del message  # the handler may free it before its reply ends
            return await work

    async def many(requests: Any, context: Context) -> Any:
        try:
            return await behaviour(requests, context)
        finally:
            # Frees the last request: the iterator and its generator refer to each other.
            await requests.__aiter__().aclose()

    if handler.request_streaming:
        return _make(handler, many, reader.read, True)
    return _make(handler, one, None, True)


async def _receive(context: Context) -> bytes:
    """Returns the only request of a call."""
    request = await context.read()
    if request is grpc.aio.EOF:
        raise HeadwaterError(Reason.INVALID_REQUEST, "the call has no request; send one message, which may be empty")
    return bytes(request)


def _kind(request_streaming: bool, response_streaming: bool) -> str:
    return f"{'stream' if request_streaming else 'unary'}_{'stream' if response_streaming else 'unary'}"


def _behaviour(handler: Handler) -> Behaviour:
    return _writing(getattr(handler, _kind(handler.request_streaming, handler.response_streaming)))


def _make(handler: Handler, behaviour: Behaviour, parse: Callable[[bytes], Any] | None, streaming: bool) -> Handler:
    """The handler with another behaviour, another way to read requests, and one request or a stream of them."""
    make = getattr(grpc, f"{_kind(streaming, handler.response_streaming)}_rpc_method_handler")
    made: Handler = make(behaviour, parse, handler.response_serializer)
    return made


def _writing(behaviour: Callable[[Any, Context], Any]) -> Behaviour:
    """Returns the behaviour as a coroutine function: a generator of replies becomes a writer of them.

    gRPC does not always close a generator when the call has died; this closes it however the call ends.
    """
    if not inspect.isasyncgenfunction(behaviour):
        return behaviour

    async def write_all(requests: Any, context: Context) -> None:
        async with aclosing(behaviour(requests, context)) as replies:
            async for reply in replies:
                await context.write(reply)

    return write_all
