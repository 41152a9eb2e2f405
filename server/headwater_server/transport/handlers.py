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
    kind = f"{_arity(handler.request_streaming)}_{_arity(handler.response_streaming)}"
    make = getattr(grpc, f"{kind}_rpc_method_handler")
    surrounded: Handler = make(
        around(_writing(getattr(handler, kind))), handler.request_deserializer, handler.response_serializer
    )
    return surrounded


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
