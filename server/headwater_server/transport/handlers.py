"""The handlers of methods, as gRPC has them, and how to put something around one."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc

Context = grpc.aio.ServicerContext[Any, Any]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

Behaviour = Callable[[Any, Context], Awaitable[Any]]
"""Answers a call: returns its one reply, or writes many to the context.

Its first argument is the request, or an iterator of requests.
"""


def surround(handler: Handler, around: Callable[[Behaviour], Behaviour]) -> Handler:
    """Returns the handler with the behaviour that `around` makes of its present one."""
    return remake(handler, around(behaviour_of(handler)), handler.request_deserializer, handler.request_streaming)


def _kind(request_streaming: bool, response_streaming: bool) -> str:
    return f"{'stream' if request_streaming else 'unary'}_{'stream' if response_streaming else 'unary'}"


def behaviour_of(handler: Handler) -> Behaviour:
    """Returns the work of the handler."""
    return _writing(getattr(handler, _kind(handler.request_streaming, handler.response_streaming)))


def remake(handler: Handler, behaviour: Behaviour, parse: Callable[[bytes], Any] | None, streaming: bool) -> Handler:
    """Returns the handler with another behaviour, which gets one request or a stream of them, read in another way."""
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
