"""From a request of the contract to a running stream of a provider, for callers and for steps of workflows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace

from headwater.v1 import agent_service_pb2
from headwater_server.domain.errors import HeadwaterError
from headwater_server.providers.registry import ProviderRegistry, fit_params
from headwater_server.streaming.live import LiveStream, Timeouts
from headwater_server.streaming.running_streams import RunningStreams
from headwater_server.transport.convert.requests import parse_options, parse_request, without_instructions


@dataclass(frozen=True, slots=True)
class Opened:
    """A running stream, and the sampling parameters that were left out."""

    stream: LiveStream
    dropped: list[str]


class StreamOpener:
    """Finds who answers a request, and opens the stream.

    Args:
        providers: who can answer.
        streams: owns the running streams.
        timeouts: how long a provider may be silent, where the caller does not say.
        allow_caller_api_keys: whether a request may bring its own key.
    """

    def __init__(
        self, providers: ProviderRegistry, streams: RunningStreams, timeouts: Timeouts, allow_caller_api_keys: bool
    ) -> None:
        self._providers = providers
        self._streams = streams
        self._timeouts = timeouts
        self._allow_caller_api_keys = allow_caller_api_keys

    @asynccontextmanager
    async def open(self, request: agent_service_pb2.StreamRequest) -> AsyncIterator[Opened]:
        """The stream, closed when the block is left. Raises HeadwaterError."""
        ask = parse_request(request, self._timeouts, self._allow_caller_api_keys)
        route = self._providers.resolve(ask.model, ask.provider)
        provider = route.provider
        chat = replace(ask.request, model=route.model, provider_options=parse_options(request, provider.name))
        chat, dropped = fit_params(provider, chat, ask.drop_unsupported)
        with naming(provider=provider.name, model=route.model):
            try:
                source = provider.stream(chat)
            except HeadwaterError as error:
                if request.instructions:
                    error.violations = tuple(map(without_instructions, error.violations))
                raise
        async with self._streams.open(provider.name, route.model, source, ask.timeouts, ask.continues) as stream:
            yield Opened(stream, dropped)


@contextmanager
def naming(**facts: str) -> Iterator[None]:
    """Adds to an error which provider and model it is about."""
    try:
        yield
    except HeadwaterError as error:
        error.about(**facts)
        raise
