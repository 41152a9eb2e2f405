"""The one way to make a call that is no stream."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from headwater._grpc.errors import to_exception
from headwater._grpc.loading import grpc

if TYPE_CHECKING:
    from headwater._grpc.server import Server

CALL_SECONDS = 30.0
"""How long a call may take where its caller says nothing: no model answers it."""

Request = TypeVar("Request", contravariant=True)
Answer = TypeVar("Answer", covariant=True)


class Method(Protocol[Request, Answer]):
    """A unary method of a generated stub."""

    def __call__(self, request: Request, /, *, timeout: float | None, metadata: Any) -> Awaitable[Answer]:
        """Begin the call."""


async def answer(
    server: Server, method: Method[Request, Answer], request: Request, timeout: float | None = CALL_SECONDS
) -> Answer:
    """The server's answer.

    Args:
        server: where the method belongs to.
        method: of a stub of `open_channel(server)`.
        request: its request.
        timeout: seconds; None for no limit.

    Raises:
        HeadwaterError: the call failed.
    """
    try:
        return await method(request, timeout=timeout, metadata=await server.headers())
    except grpc.aio.AioRpcError as error:
        raise to_exception(error, target=server.target) from None
