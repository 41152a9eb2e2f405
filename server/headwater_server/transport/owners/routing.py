"""Which of the server's processes answers a call, whichever process it has come to.

| call | answered by |
| --- | --- |
| everything of WorkflowService and WorkerService | the owner of the runs (`RUN_OWNER`) |
| AgentService.CancelStream | the owner of the stream `stream_id` |
| AgentService.ResumeStream | the same |
| AgentService.Stream with `continues_stream_id` | the owner of that stream |
| AgentService.ListStreams | this process, from the answers of all |
| everything else | this process |

The calls of siblings come over a separate socket, to services without any routing: nothing is passed on twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from operator import itemgetter
from typing import Any

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message

from headwater.v1 import agent_service_pb2, worker_service_pb2, workflow_service_pb2
from headwater_server.attempts.offers import Offers
from headwater_server.attempts.opening import StreamOpener
from headwater_server.domain.errors import HeadwaterError, restarting
from headwater_server.domain.process_identity import RUN_OWNER, ProcessIdentity
from headwater_server.streaming.replays import Replays
from headwater_server.streaming.running_streams import RunningStreams, list_position
from headwater_server.streaming.times.idle import IDLE_SECONDS
from headwater_server.transport.convert import paging
from headwater_server.transport.handlers import Context
from headwater_server.transport.owners.relay import Method, Relay
from headwater_server.transport.server import AddService
from headwater_server.transport.services.agent import AgentService

SERVICES_OF_RUNS: tuple[ServiceDescriptor, ...] = (
    workflow_service_pb2.DESCRIPTOR.services_by_name["WorkflowService"],
    worker_service_pb2.DESCRIPTOR.services_by_name["WorkerService"],
)
LIST_SECONDS = 2.0
"""How long a sibling may take to say which streams it has."""

_AGENT_SERVICE = f"/{agent_service_pb2.DESCRIPTOR.services_by_name['AgentService'].full_name}"
_STREAM = Method(f"{_AGENT_SERVICE}/Stream")
_RESUME_STREAM = Method(f"{_AGENT_SERVICE}/ResumeStream")
_CANCEL_STREAM = Method(f"{_AGENT_SERVICE}/CancelStream", agent_service_pb2.CancelStreamResponse.FromString)
_LIST_STREAMS = Method(f"{_AGENT_SERVICE}/ListStreams", agent_service_pb2.ListStreamsResponse.FromString)


def relayed_services(relay: Relay) -> list[AddService]:
    """The services that belong to the owner of the runs, for a process that is not."""
    return [partial(_add_relayed, relay, service) for service in SERVICES_OF_RUNS]


def _add_relayed(relay: Relay, service: ServiceDescriptor, server: grpc.aio.Server) -> None:
    name = service.full_name
    handlers = {method.name: _relayed(relay, name, method.name) for method in service.methods}
    server.add_registered_method_handlers(name, handlers)


def _relayed(relay: Relay, service: str, name: str) -> grpc.RpcMethodHandler[Any, Any]:
    method = Method(f"/{service}/{name}")

    async def pass_on(requests: AsyncIterator[bytes], context: Context) -> None:
        await relay.pass_on(RUN_OWNER, method, requests, context, context.write)

    return grpc.stream_stream_rpc_method_handler(pass_on)


class RoutedAgentService(AgentService):
    """The AgentService of one process among several.

    Args:
        identity: which process this is.
        relay: calls the others.
        opener, offers, streams, replays, version, idle_reader_seconds: see AgentService.
    """

    def __init__(
        self,
        identity: ProcessIdentity,
        relay: Relay,
        opener: StreamOpener,
        offers: Offers,
        streams: RunningStreams,
        replays: Replays,
        version: str,
        idle_reader_seconds: float = IDLE_SECONDS,
    ) -> None:
        super().__init__(opener, offers, streams, replays, version, idle_reader_seconds)
        self._identity = identity
        self._relay = relay

    def _is_elsewhere(self, stream_id: str) -> bool:
        return self._identity.owner(stream_id) != self._identity.index

    async def Stream(self, request: agent_service_pb2.StreamRequest, context: Context) -> None:  # type: ignore[override]  # noqa: N802
        """Writes a reply chunk by chunk; the next round of a stream is written by the owner of the first."""
        if request.continues_stream_id and self._is_elsewhere(request.continues_stream_id):
            await self._pass_on_stream(request.continues_stream_id, _STREAM, request, context)
        else:
            await super().Stream(request, context)

    async def ResumeStream(  # type: ignore[override]  # noqa: N802
        self, request: agent_service_pb2.ResumeStreamRequest, context: Context
    ) -> None:
        """Writes the rest of a resumable stream, wherever its log is."""
        if self._is_elsewhere(request.stream_id):
            await self._pass_on_stream(request.stream_id, _RESUME_STREAM, request, context)
        else:
            await super().ResumeStream(request, context)

    async def _pass_on_stream(self, stream_id: str, method: Method, request: Message, context: Context) -> None:
        """Passes on a call for a stream. Where its owner cannot be reached just now, the stream continues all the same,
        and the error says so.
        """
        try:
            await self._relay.pass_on(self._identity.owner(stream_id), method, request, context, context.write)
        except HeadwaterError as error:
            if not self._relay.has_ended:
                error.about(detached="true")
            raise

    async def CancelStream(  # noqa: N802
        self, request: agent_service_pb2.CancelStreamRequest, context: Context
    ) -> agent_service_pb2.CancelStreamResponse:
        """Ends a running stream, wherever it runs."""
        if self._is_elsewhere(request.stream_id):
            return await self._pass_on_cancel(request, context)
        return await super().CancelStream(request, context)

    async def _pass_on_cancel(
        self, request: agent_service_pb2.CancelStreamRequest, context: Context
    ) -> agent_service_pb2.CancelStreamResponse:
        answer = agent_service_pb2.CancelStreamResponse()

        async def take(message: agent_service_pb2.CancelStreamResponse) -> None:
            answer.CopyFrom(message)

        await self._relay.pass_on(self._identity.owner(request.stream_id), _CANCEL_STREAM, request, context, take)
        return answer

    async def ListStreams(  # noqa: N802
        self, request: agent_service_pb2.ListStreamsRequest, context: Context
    ) -> agent_service_pb2.ListStreamsResponse:
        """Lists the streams of all processes."""
        own = self._page(request)
        siblings = self._identity.siblings
        pages = await asyncio.gather(*(self._page_of(sibling, request, context) for sibling in siblings))
        return _merged(
            {self._identity.index: own, **dict(zip(siblings, pages, strict=True))}, paging.page_size(request.page_size)
        )

    async def _page_of(
        self, sibling: int, request: agent_service_pb2.ListStreamsRequest, context: Context
    ) -> agent_service_pb2.ListStreamsResponse:
        """The page as a sibling has it; an empty one while it is not there, for then it has no streams."""
        try:
            page: agent_service_pb2.ListStreamsResponse = await self._relay.ask(
                sibling, _LIST_STREAMS, request, LIST_SECONDS, context
            )
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                return agent_service_pb2.ListStreamsResponse()
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise restarting() from error
            raise
        return page


def _merged(
    pages: dict[int, agent_service_pb2.ListStreamsResponse], size: int
) -> agent_service_pb2.ListStreamsResponse:
    """One page of the streams of all, oldest first. A page's place in the list is the same in every process."""
    found = sorted(
        ((_position(stream, index), stream) for index, page in pages.items() for stream in page.streams),
        key=itemgetter(0),
    )
    # Where a page ends before the last stream of its process, later streams of the others wait for the next page.
    ends = [_position(page.streams[-1], index) for index, page in pages.items() if page.next_page_token]
    before = [place for place in found if place[0] <= min(ends)] if ends else found
    streams = paging.fitting(stream for _, stream in before[:size])
    last = before[len(streams) - 1][0] if ends or len(streams) < len(found) else 0
    return agent_service_pb2.ListStreamsResponse(streams=streams, next_page_token=paging.page_token(last))


def _position(stream: agent_service_pb2.StreamInfo, index: int) -> int:
    created = stream.create_time
    return list_position(created.seconds * 1_000_000 + created.nanos // 1000, index)
