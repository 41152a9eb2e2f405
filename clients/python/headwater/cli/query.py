"""Questions to a server that are no conversation."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf.message import Message

from headwater._call.request import resolve_server
from headwater._grpc.channels import channels_of_running_loop
from headwater._grpc.errors import to_exception

TIMEOUT_SECONDS = 30.0


async def ask(rpc: str, request: Message, target: str | None, token: str | None) -> Any:
    """The answer of an RPC of AgentService. Raises HeadwaterError."""
    server = resolve_server(target, token)
    call = getattr(channels_of_running_loop().stub(server.target), rpc)
    try:
        return await call(request, timeout=TIMEOUT_SECONDS, metadata=server.headers())
    except grpc.aio.AioRpcError as error:
        raise to_exception(error, target=server.target) from None
