"""The handlers of methods, as gRPC has them, how to put something around one, and how it reads its requests."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from headwater_server.domain.errors import HeadwaterError, Reason

Context = grpc.aio.ServicerContext[Any, Any]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

Behaviour = Callable[[Any, Context], Awaitable[Any]]
"""Answers a call: returns its one reply, or writes many to the context.

Its first argument is the request, or an iterator of requests.
"""


def surround(handler: Handler, around: Callable[[Behaviour], Behaviour]) -> Handler:
    """Returns the handler with the behaviour that `around` makes of its present one."""
    return _make(handler, around(_behaviour(handler)), handler.request_deserializer)


def decoding(handler: Handler) -> Handler:
    """Returns the handler for which a request that cannot be read is an error of the caller.

    gRPC would report it as a fault of the server, and end the call with UNKNOWN and no details. The behaviour raises
    HeadwaterError (INVALID_REQUEST) instead.
    """
    behaviour, parse = _behaviour(handler), handler.request_deserializer
    if parse is None:
        return handler

    async def one(request: bytes, context: Context) -> Any:
        try:
            message = parse(request)
        except DecodeError:
            raise _unreadable() from None
        return await behaviour(message, context)

    async def many(requests: Any, context: Context) -> Any:
        try:
            return await behaviour(requests, context)
        except DecodeError:  # the iterator of requests raises it; nothing else here reads a message
            raise _unreadable() from None

    if handler.request_streaming:
        return _make(handler, many, parse)
    return _make(handler, one, None)


def _unreadable() -> HeadwaterError:
    what = "the request cannot be read: it is no such message, or is nested more than 100 levels"
    return HeadwaterError(Reason.INVALID_REQUEST, f"{what}; build it with the stub, and nest less")


def _kind(handler: Handler) -> str:
    return f"{_arity(handler.request_streaming)}_{_arity(handler.response_streaming)}"


def _behaviour(handler: Handler) -> Behaviour:
    return _writing(getattr(handler, _kind(handler)))


def _make(handler: Handler, behaviour: Behaviour, parse: Callable[[bytes], Any] | None) -> Handler:
    """The handler with another behaviour, and another way to read requests."""
    make = getattr(grpc, f"{_kind(handler)}_rpc_method_handler")
    made: Handler = make(behaviour, parse, handler.response_serializer)
    return made


def _arity(streaming: bool) -> str:
    return "stream" if streaming else "unary"


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
