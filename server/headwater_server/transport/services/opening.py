"""From a parsed request to a running stream of a provider, for callers and for steps of workflows."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from headwater_server.domain.errors import FieldViolation, HeadwaterError, invalid_request
from headwater_server.domain.messages import (
    PROVIDER_HEADER,
    PROVIDER_KEY,
    AgentConfig,
    ChatRequest,
    Message,
    Role,
    Text,
)
from headwater_server.providers.own_data import only_data_of
from headwater_server.providers.registry import ProviderRegistry, ProviderTerms, Route, fit_params
from headwater_server.streaming.live import LiveStream, StreamTerms, Timeouts
from headwater_server.streaming.running_streams import RunningStreams
from headwater_server.transport.convert.requests import ParsedRequest

_MESSAGE = re.compile(r"messages\[(\d+)\]")


class StreamOpener:
    """Finds the provider for a request, and opens the stream.

    Args:
        providers: the providers that can answer.
        streams: owns the running streams.
        timeouts: the limits of a stream in time, where neither the caller nor the provider says.
        allow_caller_api_keys: whether a request may bring a key for the provider.
    """

    def __init__(
        self, providers: ProviderRegistry, streams: RunningStreams, timeouts: Timeouts, allow_caller_api_keys: bool
    ) -> None:
        self.allow_caller_api_keys = allow_caller_api_keys
        self._providers = providers
        self._streams = streams
        self._timeouts = timeouts

    @asynccontextmanager
    async def open_stream(self, request: ParsedRequest, *, whole: bool = False) -> AsyncIterator[LiveStream]:
        """The stream, closed when the block is left. Raises HeadwaterError.

        Args:
            request: the request.
            whole: whether the final chunk has the assistant message of any reply, and not only of one with tool calls.
        """
        agent = request.agent
        with _fields_of(agent):
            route = self._providers.resolve(agent.model, agent.provider)
            provider = route.provider
            own = self._providers.terms(provider.name)
            _check_headers(request, provider.name, own)
            chat, dropped = fit_params(provider, _chat(request, route), agent.drop_unsupported)
            account = provider.account(chat)
            with naming(provider=provider.name, model=route.model):
                source = provider.stream(only_data_of(chat, provider.name, account))
        # Fields of the provider's own can bring tools too.
        collects = whole or bool(chat.tools or chat.provider_options)
        terms = StreamTerms(account, collects, dropped, request.resumable, agent.labels)
        timeouts = _timeouts(agent, own, self._timeouts)
        async with self._streams.open_stream(
            provider.name, route.model, source, timeouts, request.continues, terms
        ) as stream:
            yield stream


def _timeouts(agent: AgentConfig, provider: ProviderTerms, server: Timeouts) -> Timeouts:
    """The caller's, or else the provider's, or else the server's."""

    def first(*seconds: float | None) -> float:
        return next(each for each in seconds if each is not None)

    return Timeouts(
        first(agent.first_chunk_seconds, provider.first_chunk_seconds, server.first_chunk_seconds),
        first(agent.next_chunk_seconds, provider.next_chunk_seconds, server.next_chunk_seconds),
        first(provider.max_silence_seconds, server.max_silence_seconds),
        first(agent.total_seconds, provider.total_seconds, server.total_seconds),
    )


def _check_headers(request: ParsedRequest, provider: str, terms: ProviderTerms) -> None:
    """Raises HeadwaterError for headers that callers may not send to the provider."""
    if refused := request.provider_headers.keys() - terms.caller_headers:
        what = f"is not taken for {provider} here: it is not among the server's providers.{provider}.caller_headers"
        raise invalid_request([FieldViolation(PROVIDER_HEADER + name, what) for name in sorted(refused)])


def _chat(request: ParsedRequest, route: Route) -> ChatRequest:
    agent = request.agent
    system = Message(Role.SYSTEM, (Text(agent.instructions),), agent.instructions_cache)
    instructions = (system,) if agent.instructions else ()
    return ChatRequest(
        model=route.model,
        messages=(*instructions, *request.messages),
        sampling=agent.sampling,
        tools=agent.tools,
        tool_choice=agent.tool_choice,
        response_format=agent.response_format,
        provider_options=agent.provider_options.get(route.provider.name, {}),
        user=agent.user,
        api_key=request.provider_key,
        headers=request.provider_headers,
        connect_seconds=agent.connect_seconds,
    )


@contextmanager
def _fields_of(agent: AgentConfig) -> Iterator[None]:
    """Names the bad fields of an error as the caller has sent them: most are the agent's, and its instructions are no
    message of the conversation.
    """
    before = 1 if agent.instructions else 0

    def rename(field: str) -> str:
        message = _MESSAGE.match(field)
        if message is None:
            return field if field.startswith((PROVIDER_KEY, PROVIDER_HEADER)) else f"agent.{field}"
        return f"messages[{int(message[1]) - before}]{field[message.end() :]}"

    try:
        yield
    except HeadwaterError as error:
        if error.violations:
            raise error.renamed(rename) from error
        raise


@contextmanager
def naming(**facts: str) -> Iterator[None]:
    """Adds to an error which provider and model it is about."""
    try:
        yield
    except HeadwaterError as error:
        error.about(**facts)
        raise
