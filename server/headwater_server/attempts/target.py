"""A model that a request may ask, with the request in the form for that model."""

from __future__ import annotations

from dataclasses import dataclass, field

from headwater_server.attempts.request import ParsedRequest
from headwater_server.domain.errors import FieldViolation, invalid_request
from headwater_server.domain.messages import PROVIDER_HEADER, AgentConfig, ChatRequest, Message, Role, Text
from headwater_server.providers.admitted import admitted
from headwater_server.providers.base import ProviderStream
from headwater_server.providers.gate import Gate
from headwater_server.providers.own_data import only_data_of
from headwater_server.providers.registry import ProviderTerms, Route, fit_params
from headwater_server.streaming.answerer import Timeouts


@dataclass(frozen=True, slots=True)
class Target:
    """One model of one provider, and the request to it.

    Attributes:
        route: the provider and the model.
        chat: the request.
        account: fingerprint of the address and the key that are used.
        dropped: the parameters of the caller's request that the model does not take.
        timeouts: the limits of its reply in time.
        gate: limits how much the provider is asked; None: without a limit.
    """

    route: Route
    chat: ChatRequest = field(repr=False)
    account: str
    dropped: list[str]
    timeouts: Timeouts
    gate: Gate | None = None

    def ask(self) -> ProviderStream:
        """A reply, not yet begun. Raises HeadwaterError (INVALID_REQUEST) for what the provider cannot express."""
        provider = self.route.provider
        reply = provider.stream(only_data_of(self.chat, provider.name, self.account))
        return admitted(reply, self.gate, self.chat)


def target(request: ParsedRequest, route: Route, terms: ProviderTerms, server: Timeouts) -> Target:
    """The target that a route stands for. Raises HeadwaterError (INVALID_REQUEST)."""
    _check_headers(request, route.provider.name, terms)
    chat, dropped = fit_params(route.provider, _chat(request, route), request.agent.drop_unsupported)
    account, timeouts = route.provider.account(chat), _timeouts(request.agent, terms, server)
    return Target(route, chat, account, dropped, timeouts, terms.gate)


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
        size=request.size,
        connect_seconds=agent.connect_seconds,
    )
