"""The AgentService: one method an RPC."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from operator import attrgetter

import grpc
from google.protobuf.message import Message

from headwater.v1 import agent_service_pb2, agent_service_pb2_grpc
from headwater_server.attempts.offers import Offers
from headwater_server.attempts.opening import StreamOpener, allowed_of, naming
from headwater_server.attempts.request import ParsedRequest
from headwater_server.domain.chunks import FinalChunk
from headwater_server.domain.errors import FieldViolation, invalid, invalid_request
from headwater_server.domain.limits import MAX_MESSAGE_BYTES, MAX_NAME
from headwater_server.domain.messages import PROVIDER_HEADER, PROVIDER_KEY
from headwater_server.streaming.accumulator import ReplyAccumulator
from headwater_server.streaming.live import LiveStream
from headwater_server.streaming.push import Reading
from headwater_server.streaming.replays import Replays
from headwater_server.streaming.running_streams import RunningStreams
from headwater_server.streaming.times.idle import IDLE_SECONDS
from headwater_server.telemetry.aside import Aside
from headwater_server.telemetry.call_facts import add_facts
from headwater_server.transport.convert import paging, replies
from headwater_server.transport.convert.requests import (
    Question,
    parse_heartbeat,
    parse_run_request,
    parse_stream_request,
)
from headwater_server.transport.handlers import Context, Handler
from headwater_server.transport.services.chunk_messages import check_size, too_large
from headwater_server.transport.services.writing import log_end, write_stream

MAX_LOGGED = 100
"""Characters of a caller's text in the log."""
LARGE_BYTES = 128 * 1024
"""A request with more bytes is not looked at on the event loop."""


_SERVICE = agent_service_pb2.DESCRIPTOR.services_by_name["AgentService"].full_name


class AgentService(agent_service_pb2_grpc.AgentServiceServicer):
    """Bridges the RPCs to providers and streams.

    Args:
        opener: opens streams.
        offers: the providers that can answer.
        streams: owns the running streams.
        replays: owns the logs of resumable streams.
        version: sent as the response header `headwater-version`.
        idle_reader_seconds: how long the reader of a stream may take nothing.
    """

    def __init__(
        self,
        opener: StreamOpener,
        offers: Offers,
        streams: RunningStreams,
        replays: Replays,
        version: str,
        idle_reader_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._idle_reader_seconds = idle_reader_seconds
        self._opener = opener
        self._offers = offers
        self._streams = streams
        self._replays = replays
        self._version = "headwater-version", version
        self._aside = Aside()

    async def _parsed(self, parse: Callable[..., ParsedRequest], request: Question, context: Context) -> ParsedRequest:
        """The request with the metadata that a caller has for the provider: a key, and headers.

        The call's line in the log gets the model that the caller has named, also when it is refused, and its labels.
        """
        add_facts(model_asked=request.agent.model[:MAX_LOGGED])
        keys: list[str] = []
        headers: list[tuple[str, str]] = []
        for key, value in context.invocation_metadata() or ():
            if key == PROVIDER_KEY:
                keys.append(str(value))
            elif key.startswith(PROVIDER_HEADER):
                headers.append((key[len(PROVIDER_HEADER) :], str(value)))
        allowed = self._opener.allow_caller_api_keys
        if request.ByteSize() <= LARGE_BYTES:
            parsed = parse(request, keys, allowed, headers)
        else:
            parsed = await self._aside.do(partial(parse, request, keys, allowed, headers), is_large=True)
        if parsed.agent.labels:
            add_facts(labels=dict(parsed.agent.labels))
        remaining = context.time_remaining()
        return parsed if remaining is None else parsed.until(asyncio.get_running_loop().time() + remaining)

    def _write(
        self, stream: LiveStream, source: Reading, context: Context, heartbeat_seconds: float | None
    ) -> Awaitable[None]:
        """Writes a stream; to be awaited. Its facts are for the caller to log: that saves a coroutine each stream."""
        add_facts(stream_id=stream.id)
        headers = ("headwater-stream-id", stream.id), self._version
        return write_stream(stream, source, context, headers, heartbeat_seconds, self._idle_reader_seconds)

    async def Stream(  # type: ignore[override]  # noqa: N802  gRPC also takes a coroutine that writes
        self, request: agent_service_pb2.StreamRequest, context: Context
    ) -> None:
        """Writes a reply chunk by chunk."""
        parsed = await self._parsed(parse_stream_request, request, context)
        del request  # it may have 32 MiB, and a reply can take minutes
        opening, heartbeat_seconds = self._opener.open_stream(parsed), parsed.heartbeat_seconds
        if parsed.resumable:
            async with self._replays.open_stream(opening, parsed.continues) as attached:
                try:
                    await self._write(attached.stream, attached.reader, context, heartbeat_seconds)
                finally:
                    _log_stream(attached.stream)
        else:
            del parsed  # the stream does not keep it either
            async with opening as stream:
                try:
                    await self._write(stream, stream, context, heartbeat_seconds)
                finally:
                    _log_stream(stream)

    async def ResumeStream(  # type: ignore[override]  # noqa: N802
        self, request: agent_service_pb2.ResumeStreamRequest, context: Context
    ) -> None:
        """Writes the rest of a resumable stream."""
        if not request.stream_id:
            raise invalid("stream_id", "is empty; it is in the header headwater-stream-id and on the first chunk")
        if request.after_sequence < 0:
            raise invalid("after_sequence", "must be 0 or more, the sequence of the last chunk that came")
        bad: list[FieldViolation] = []
        heartbeat = parse_heartbeat(request, bad)
        if bad:
            raise invalid_request(bad)
        async with self._replays.resume(request.stream_id, request.after_sequence) as attached:
            try:
                await self._write(attached.stream, attached.reader, context, heartbeat)
            finally:
                _log_stream(attached.stream)

    async def Run(  # noqa: N802
        self, request: agent_service_pb2.RunRequest, context: Context
    ) -> agent_service_pb2.RunResponse:
        """Answers with the whole reply."""
        parsed = await self._parsed(parse_run_request, request, context)
        del request
        async with self._opener.open_stream(parsed, whole=True) as stream:
            add_facts(stream_id=stream.id)
            try:
                return await self._whole(stream, context)
            finally:
                _log_stream(stream)

    async def _whole(self, stream: LiveStream, context: Context) -> agent_service_pb2.RunResponse:
        reply = ReplyAccumulator()
        headers = ("headwater-stream-id", stream.id), self._version
        begun = asyncio.create_task(context.send_initial_metadata(headers))
        try:
            chunk = await stream.next()
        finally:
            await begun
        while not isinstance(chunk, FinalChunk):
            reply.add_chunk(chunk)
            if reply.size > MAX_MESSAGE_BYTES:
                raise too_large()
            chunk = await stream.next()
        log_end(chunk)
        response = replies.run_response(stream, reply, chunk)
        check_size(response)
        return response

    async def CancelStream(  # noqa: N802
        self, request: agent_service_pb2.CancelStreamRequest, context: Context
    ) -> agent_service_pb2.CancelStreamResponse:
        """Ends a running stream."""
        if not request.stream_id:
            raise invalid("stream_id", "is empty; it is in the header headwater-stream-id and on the first chunk")
        self._streams.cancel_stream(request.stream_id)
        return agent_service_pb2.CancelStreamResponse()

    async def ListStreams(  # noqa: N802
        self, request: agent_service_pb2.ListStreamsRequest, context: Context
    ) -> agent_service_pb2.ListStreamsResponse:
        """Lists the streams."""
        return self._page(request)

    def _page(self, request: agent_service_pb2.ListStreamsRequest) -> agent_service_pb2.ListStreamsResponse:
        """At most as many of this process's streams as were asked for, and no more than fit into one message."""
        size, start = paging.page_size(request.page_size), paging.page_start(request.page_token)
        ended = self._replays.ended() if request.show_ended else []
        found, last = self._streams.page(start, size, ended)
        streams = paging.fitting(replies.stream_info(stream, self._replays.facts(stream)) for stream in found)
        if len(streams) < len(found):
            _, last = self._streams.page(start, len(streams), ended)
        return agent_service_pb2.ListStreamsResponse(streams=streams, next_page_token=paging.page_token(last))

    async def GetProviderInfo(  # noqa: N802
        self, request: agent_service_pb2.GetProviderInfoRequest, context: Context
    ) -> agent_service_pb2.GetProviderInfoResponse:
        """Says what a provider and a model can do."""
        for name in ("model", "provider"):
            if len(getattr(request, name)) > MAX_NAME:
                raise invalid(name, f"is longer than {MAX_NAME} characters")
        with self._offers.held() as offer:
            if request.provider and not request.model:
                provider, model = offer.providers.provider(request.provider), ""
                allowed_of(offer).check_provider(provider.name)
            else:
                route = offer.providers.resolve(request.model, request.provider)
                provider, model = route.provider, route.model
                allowed_of(offer).of([route])
            with naming(provider=provider.name, model=model):
                info = await provider.info(model)
        return agent_service_pb2.GetProviderInfoResponse(provider=replies.provider_info(info))

    async def ListProviders(  # noqa: N802
        self, request: agent_service_pb2.ListProvidersRequest, context: Context
    ) -> agent_service_pb2.ListProvidersResponse:
        """Lists the configured providers."""
        offer = self._offers.current
        default, allowed = offer.providers.default(), allowed_of(offer)
        if default and not allowed.allows(default.provider.name, default.model):
            default = None
        providers = [each for each in offer.providers.configured() if allowed.allows_provider(each.name)]
        page, next_token = paging.page_by_name(providers, attrgetter("name"), request.page_size, request.page_token)
        return agent_service_pb2.ListProvidersResponse(
            providers=map(replies.provider_summary, page),
            default_provider=default.provider.name if default else "",
            default_model=default.model if default else "",
            next_page_token=next_token,
        )

    async def ListModels(  # noqa: N802
        self, request: agent_service_pb2.ListModelsRequest, context: Context
    ) -> agent_service_pb2.ListModelsResponse:
        """Asks a provider for its models."""
        if len(request.provider) > MAX_NAME:
            raise invalid("provider", f"is longer than {MAX_NAME} characters")
        with self._offers.held() as offer:
            provider, allowed = offer.providers.provider(request.provider), allowed_of(offer)
            if request.provider:
                allowed.check_provider(provider.name)
            with naming(provider=provider.name):
                found = await provider.models()
        own = [
            agent_service_pb2.ModelInfo(name=model.name, provider=provider.name, capabilities=model.capabilities)
            for model in found
            if allowed.allows(provider.name, model.name)
        ]
        aliases = {} if request.provider else allowed.aliases()
        named = [agent_service_pb2.ModelInfo(name=name, targets=targets) for name, targets in aliases.items()]
        hidden = () if request.provider else offer.providers.aliases
        listed = [*named, *(model for model in own if model.name not in hidden)]
        models, next_token = paging.page_by_name(listed, attrgetter("name"), request.page_size, request.page_token)
        return agent_service_pb2.ListModelsResponse(models=models, next_page_token=next_token)


def add_agent_service(service: AgentService, server: grpc.aio.Server) -> None:
    """Adds the service to a server. Its streams write bytes: see `chunk_messages`."""
    agent_service_pb2_grpc.add_AgentServiceServicer_to_server(service, server)
    requests: dict[str, Callable[[bytes], Message]] = {
        "Stream": agent_service_pb2.StreamRequest.FromString,
        "ResumeStream": agent_service_pb2.ResumeStreamRequest.FromString,
    }
    handlers: dict[str, Handler] = {
        name: grpc.unary_stream_rpc_method_handler(getattr(service, name), parse) for name, parse in requests.items()
    }
    server.add_registered_method_handlers(_SERVICE, handlers)


def _log_stream(stream: LiveStream) -> None:
    """Adds to the call's line in the log who answered the stream, and how far it came."""
    answerer, first = stream.answerer, stream.first_token_seconds
    facts: dict[str, object] = {
        "provider": answerer.provider,
        "model": answerer.model,
        "chunks": stream.chunk_count,
    }
    if answerer.tried:
        facts["attempts"] = len(answerer.tried) + 1
    if first is not None:
        facts["first_token_seconds"] = round(first, 4)
    add_facts(**facts)
