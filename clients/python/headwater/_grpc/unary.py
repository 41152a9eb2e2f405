"""The one way to make a call that is no stream."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from headwater._grpc.channels import OpenChannel, open_channel
from headwater._grpc.errors import to_exception
from headwater._grpc.loading import grpc
from headwater._grpc.other_servers import explain
from headwater._grpc.wrong_server import UNREADABLE, wrong

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
    server: Server,
    method: Callable[[OpenChannel], Method[Request, Answer]],
    request: Request,
    timeout: float | None = CALL_SECONDS,
    *,
    channel: OpenChannel | None = None,
) -> Answer:
    """The server's answer.

    Args:
        server: where the call goes.
        method: gives the method, a stub's, of a channel.
        request: its request.
        timeout: seconds; None for no limit.
        channel: carries the call; None for `open_channel(server)`.

    Raises:
        HeadwaterError: the call failed, or its answer cannot be read.
    """
    try:
        headers = await server.headers()
        found = await method(channel or await open_channel(server))(request, timeout=timeout, metadata=headers)
    except grpc.aio.AioRpcError as error:
        answers = await explain(error, server)
        raise to_exception(error, target=server.target, answers=answers) from None
    if found is None:  # gRPC's way to say that it cannot be read
        raise wrong(UNREADABLE)
    return found
