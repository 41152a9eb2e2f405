"""The calls of AgentService that are no streams, and those of OperatorService."""

from __future__ import annotations

from headwater._grpc.server import Server
from headwater._grpc.unary import CALL_SECONDS, answer
from headwater._grpc.wrong_server import Pages, wrong
from headwater.v1 import agent_service_pb2, operator_service_pb2

_LARGEST_PAGE = 1_000


async def fetch_provider_info(
    server: Server, provider: str, model: str, timeout: float | None
) -> agent_service_pb2.ProviderInfo:
    """The abilities of the provider and the model; with empty names, of those that would answer."""
    request = agent_service_pb2.GetProviderInfoRequest(provider=provider, model=model)
    found = await answer(server, lambda over: over.agents.GetProviderInfo, request, timeout or CALL_SECONDS)
    if not found.provider.name:
        raise wrong("a provider without a name")
    return found.provider


async def list_providers(
    server: Server, timeout: float | None = CALL_SECONDS
) -> agent_service_pb2.ListProvidersResponse:
    """The configured providers, those of all pages in one answer."""
    request = agent_service_pb2.ListProvidersRequest(page_size=_LARGEST_PAGE)
    found = await answer(server, lambda over: over.agents.ListProviders, request, timeout)
    pages = Pages()
    while found.next_page_token:
        request.page_token = pages.next(found.next_page_token)
        page = await answer(server, lambda over: over.agents.ListProviders, request, timeout)
        found.providers.extend(page.providers)
        found.next_page_token = page.next_page_token
    return found


async def list_models(server: Server, provider: str) -> agent_service_pb2.ListModelsResponse:
    """The models of a provider, those of all pages in one answer; of the default provider with an empty name."""
    request = agent_service_pb2.ListModelsRequest(provider=provider, page_size=_LARGEST_PAGE)
    found = await answer(server, lambda over: over.agents.ListModels, request)
    pages = Pages()
    while found.next_page_token:
        request.page_token = pages.next(found.next_page_token)
        page = await answer(server, lambda over: over.agents.ListModels, request)
        found.models.extend(page.models)
        found.next_page_token = page.next_page_token
    return found


async def list_streams(server: Server) -> agent_service_pb2.ListStreamsResponse:
    """The streams that run or are kept, those of all pages in one answer."""
    request = agent_service_pb2.ListStreamsRequest(page_size=_LARGEST_PAGE, show_ended=True)
    found = await answer(server, lambda over: over.agents.ListStreams, request)
    pages = Pages()
    while found.next_page_token:
        request.page_token = pages.next(found.next_page_token)
        page = await answer(server, lambda over: over.agents.ListStreams, request)
        found.streams.extend(page.streams)
        found.next_page_token = page.next_page_token
    return found


async def cancel_stream(server: Server, stream_id: str) -> agent_service_pb2.CancelStreamResponse:
    """Ends a running stream."""
    request = agent_service_pb2.CancelStreamRequest(stream_id=stream_id)
    return await answer(server, lambda over: over.agents.CancelStream, request)


async def get_server_status(server: Server) -> operator_service_pb2.GetServerStatusResponse:
    """The state of the whole server."""
    request = operator_service_pb2.GetServerStatusRequest()
    return await answer(server, lambda over: over.operators.GetServerStatus, request)
