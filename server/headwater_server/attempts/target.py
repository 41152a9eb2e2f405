"""The models that a request may ask, with the request in the form for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from typing import ClassVar

from msgspec.structs import replace

from headwater_server.attempts.allowed import Allowed
from headwater_server.attempts.circuits import Key
from headwater_server.attempts.request import ParsedRequest
from headwater_server.domain.costs.prices import NO_PRICES, Price, PriceTable
from headwater_server.domain.errors import FieldViolation, invalid, invalid_request
from headwater_server.domain.messages import (
    PROVIDER_HEADER,
    PROVIDER_KEY,
    AgentConfig,
    ChatRequest,
    Message,
    QuietStruct,
    Role,
    Text,
)
from headwater_server.providers.admitted import AdmittedStream
from headwater_server.providers.base import ProviderStream
from headwater_server.providers.caller_urls.check import check_urls
from headwater_server.providers.gate import Gate
from headwater_server.providers.own_data import only_data_of, without_thinking
from headwater_server.providers.presets import vendor
from headwater_server.providers.registry import ProviderRegistry, ProviderTerms, Route, fit_params
from headwater_server.streaming.answerer import Timeouts
from headwater_server.telemetry.tracing.spans import AttemptFacts

_UNSET = (None, None, None, None)


class Target(QuietStruct, frozen=True):
    """One model of one provider, and the request to it.

    Attributes:
        route: the provider and the model.
        chat: the request.
        key: that of its circuit: the provider's name, the account, and the model.
        account: fingerprint of the address and the key that are used.
        dropped: the parameters of the caller's request that the model does not take.
        timeouts: the limits of its reply in time.
        gate: limits how much the provider is asked; None: without a limit.
        is_measured: whether its failures say something about the model. Those of a request that sets limits, headers or
            fields of the provider itself may not, and any caller could keep others from the model.
        takes_thinking: whether thinking in the conversation may be its own.
        price: of the model; None: it has none.
    """

    UNSEEN: ClassVar = ("chat", "key")

    route: Route
    chat: ChatRequest
    key: Key
    account: str
    dropped: list[str]
    timeouts: Timeouts
    is_measured: bool
    gate: Gate | None = None
    takes_thinking: bool = True
    price: Price | None = None

    def facts(self, number: int) -> AttemptFacts:
        """The facts of an attempt for its span."""
        provider = self.route.provider
        service = vendor("", provider.address) or provider.type
        return AttemptFacts(provider.name, service, provider.address, self.chat, number)

    def ask(self) -> ProviderStream:
        """A reply, not yet begun. Raises HeadwaterError (INVALID_REQUEST) when the provider cannot express it."""
        provider = self.route.provider
        chat = only_data_of(self.chat, provider.name, self.account)
        reply = provider.stream(chat if self.takes_thinking else without_thinking(chat))
        return reply if self.gate is None else AdmittedStream(reply, self.gate, self.chat)


class Targets:
    """Makes the targets of requests.

    Args:
        providers: the providers that can answer.
        timeouts: the limits of a stream in time, where neither the caller nor the provider says.
        chance: a number from 0 to 1, another one each time.
        prices: of models.
        allowed: the models that the caller may ask; None: all.
    """

    def __init__(
        self,
        providers: ProviderRegistry,
        timeouts: Timeouts,
        chance: Callable[[], float],
        prices: PriceTable = NO_PRICES,
        allowed: Allowed | None = None,
    ) -> None:
        self._providers = providers
        self._timeouts = timeouts
        self._chance = chance
        self._prices = prices
        self._allowed = allowed

    def of(self, request: ParsedRequest) -> list[Target]:
        """The targets of a request, in the order in which they are asked. Raises HeadwaterError."""
        agent = request.agent
        if self._allowed is None:
            routes, weights = self._providers.routes(agent.model, agent.provider)
        else:
            routes, weights = self._routes(agent.model, agent.provider)
        if len(routes) == 1 and not agent.fallback_models:
            return [self._target(request, routes[0], routes[0].provider.name, agent.drop_unsupported)]
        owner = _owner(request, routes)
        ordered = spread(routes, weights, self._chance)[: 1 if agent.no_fallback else None]
        drops = agent.drop_unsupported or len(ordered) > 1
        targets = [self._target(request, route, owner, drops) for route in ordered]
        if drops and not agent.drop_unsupported:
            _check_dropped(targets)
        # Thinking in the conversation came from the model that the request names, as far as anybody knows.
        home = targets[0].account if len({target.account for target in targets}) == 1 or not weights else None
        for name in agent.fallback_models:
            found = spread(*self._routes(name, ""), self._chance)
            targets += [self._target(request, route, owner, drops=True) for route in found]
        unique: dict[Key, Target] = {}
        for target in targets:
            unique.setdefault(target.key, replace(target, takes_thinking=target.account == home))
        return list(unique.values())

    def _routes(self, model: str, provider: str) -> tuple[list[Route], tuple[float, ...]]:
        """The routes that the caller may take, with their weights. Raises HeadwaterError as the parts of it do."""
        routes, weights = self._providers.routes(model, provider)
        if self._allowed is None:
            return routes, weights
        kept = self._allowed.of(routes)
        return [routes[i] for i in kept], tuple(weights[i] for i in kept) if weights else ()

    def _target(self, request: ParsedRequest, route: Route, owner: str, drops: bool) -> Target:
        """The target that a route stands for; `owner`: the provider that the caller's key and headers are for."""
        agent, provider = request.agent, route.provider
        terms = self._providers.terms(provider.name)
        if provider.name != owner:
            request = replace(request, provider_key="", provider_headers={})
        if request.provider_headers:
            _check_headers(request, provider.name, terms)
        if self._allowed is not None:
            self._allowed.check_options(provider.name, agent.provider_options.get(provider.name, {}))
        chat = _chat(request, route)
        dropped: list[str] = []
        if chat.sampling or chat.provider_options:
            chat, dropped = fit_params(provider, chat, drops)
        check_urls(chat, provider.name, allow_private=terms.allow_private_urls)
        own_limits = agent.first_chunk_seconds is not None or agent.connect_seconds is not None
        is_measured = not (own_limits or chat.headers or chat.provider_options)
        timeouts = _timeouts(agent, terms, self._timeouts)
        price, account = self._prices.of(provider.name, route.model), provider.account(chat)
        key = provider.name, account, route.model
        return Target(route, chat, key, account, dropped, timeouts, is_measured, terms.gate, price=price)


def spread(routes: Sequence[Route], weights: Sequence[float], chance: Callable[[], float]) -> list[Route]:
    """The routes in the order in which they are drawn by their weights; as they are without weights."""
    if not weights:
        return list(routes)
    left, ordered = list(zip(routes, weights, strict=True)), []
    while left:
        point = chance() * sum(weight for _, weight in left)
        for i, (route, weight) in enumerate(left):
            point -= weight
            if point < 0 or i == len(left) - 1:
                ordered.append(route)
                del left[i]
                break
    return ordered


def _owner(request: ParsedRequest, routes: Sequence[Route]) -> str:
    """The provider that the caller's key and headers are for. Raises HeadwaterError where that is not known."""
    if len(routes) > 1 and (request.provider_key or request.provider_headers):
        _check_owner(request, {route.provider.name for route in routes})
    return routes[0].provider.name


def _check_owner(request: ParsedRequest, names: Set[str]) -> None:
    """Raises HeadwaterError where the key and the headers are for one of several providers."""
    if len(names) > 1:
        field = PROVIDER_KEY if request.provider_key else PROVIDER_HEADER
        what = f"is for one provider, and the model stands for those of {', '.join(sorted(names))}; name one of them"
        raise invalid(field, what)


def _check_dropped(targets: Sequence[Target]) -> None:
    """Raises HeadwaterError for parameters that none of the targets takes."""
    none_takes = set[str].intersection(*(set(target.dropped) for target in targets))
    if none_takes:
        what = "is not a parameter of any of the models; leave it out, or set unsupported_params to DROP"
        raise invalid_request([FieldViolation(name, what) for name in sorted(none_takes)])


def _timeouts(agent: AgentConfig, provider: ProviderTerms, server: Timeouts) -> Timeouts:
    """The caller's, or else the provider's, or else the server's."""
    ours = agent.first_chunk_seconds, agent.next_chunk_seconds, None, agent.total_seconds
    theirs = (
        provider.first_chunk_seconds,
        provider.next_chunk_seconds,
        provider.max_silence_seconds,
        provider.total_seconds,
    )
    if ours == theirs == _UNSET:
        return server
    last = server.first_chunk_seconds, server.next_chunk_seconds, server.max_silence_seconds, server.total_seconds
    return Timeouts(*map(_first, ours, theirs, last))


def _first(ours: float | None, theirs: float | None, last: float) -> float:
    if ours is not None:
        return ours
    return last if theirs is None else theirs


def _check_headers(request: ParsedRequest, provider: str, terms: ProviderTerms) -> None:
    """Raises HeadwaterError for headers that callers may not send to the provider."""
    if refused := request.provider_headers.keys() - terms.caller_headers:
        what = f"is not taken for {provider} here: it is not among the server's providers.{provider}.caller_headers"
        raise invalid_request([FieldViolation(PROVIDER_HEADER + name, what) for name in sorted(refused)])


def _chat(request: ParsedRequest, route: Route) -> ChatRequest:
    agent = request.agent
    messages = request.messages
    if agent.instructions:
        messages = (Message(Role.SYSTEM, (Text(agent.instructions),), agent.instructions_cache), *messages)
    return ChatRequest(
        model=route.model,
        messages=messages,
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
