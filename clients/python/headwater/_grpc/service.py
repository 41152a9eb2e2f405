"""The calls of the service that are no streams."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

import grpc

from headwater._call.request import Server
from headwater._grpc.channels import channels_of_running_loop
from headwater._grpc.errors import to_exception
from headwater.v1 import agent_service_pb2

T = TypeVar("T")

_PATIENCE_SECONDS = 30.0  # where the caller set no timeout: these answers take no model


async def fetch_provider_info(
    server: Server, provider: str, model: str, timeout: float | None
) -> agent_service_pb2.ProviderInfo:
    """What the provider and the model can do; with empty names, those that would answer."""
    request = agent_service_pb2.GetProviderInfoRequest(provider=provider, model=model)
    stub = channels_of_running_loop().stub(server.target)
    answer = await _answer(
        stub.GetProviderInfo(request, timeout=timeout or _PATIENCE_SECONDS, metadata=server.headers()), server
    )
    return answer.provider


async def fetch_providers(server: Server, timeout: float | None) -> list[str]:
    """Names of the configured providers."""
    stub = channels_of_running_loop().stub(server.target)
    request = agent_service_pb2.ListProvidersRequest()
    answer = await _answer(
        stub.ListProviders(request, timeout=timeout or _PATIENCE_SECONDS, metadata=server.headers()), server
    )
    return [provider.name for provider in answer.providers]


async def _answer(call: Awaitable[T], server: Server) -> T:
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise to_exception(error, target=server.target) from None
