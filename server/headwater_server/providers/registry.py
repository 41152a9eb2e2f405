"""The providers of this server, and which of them answers a request. Names route by data, never by a guess."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from headwater_server.domain.errors import FieldViolation, HeadwaterError, Reason, invalid, invalid_request
from headwater_server.domain.messages import ChatRequest
from headwater_server.providers.base import Provider
from headwater_server.providers.gate import Gate
from headwater_server.providers.http.client import HttpClient
from headwater_server.providers.model_names import MODELS
from headwater_server.providers.types import TYPES, type_of_model

# The providers for a request that names none: these in order, then those configured under other names, then the last.
FIRST = tuple(name for name, kind in TYPES.items() if not kind.stands_in)
LAST = tuple(name for name, kind in TYPES.items() if kind.stands_in)


@dataclass(frozen=True, slots=True)
class Route:
    """The provider that answers, and the model by the provider's own name."""

    provider: Provider
    model: str


@dataclass(frozen=True, slots=True)
class ProviderTerms:
    """The terms of calls to one provider.

    Attributes:
        first_chunk_seconds: limits of its replies, as the server has them (see `streaming.answerer.Timeouts`); None: as
            the server is set.
        next_chunk_seconds: the same.
        max_silence_seconds: the same.
        total_seconds: the same.
        caller_headers: the headers that a caller may add, names in lower case.
        gate: limits how much it is asked; None: without a limit.
        allow_private_urls: whether it may be given addresses to fetch that lead into a private network.
    """

    first_chunk_seconds: float | None = None
    next_chunk_seconds: float | None = None
    max_silence_seconds: float | None = None
    total_seconds: float | None = None
    caller_headers: frozenset[str] = frozenset()
    gate: Gate | None = None
    allow_private_urls: bool = False


_NO_TERMS = ProviderTerms()


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A provider and the parts that were made for it, to be kept over a reload.

    Attributes:
        provider: the provider.
        client: its HTTP client.
        made_of: equal as long as the provider can stay as it is.
        terms: those of calls to it.
    """

    provider: Provider
    client: HttpClient
    made_of: tuple[object, ...]
    terms: ProviderTerms


@dataclass(frozen=True, slots=True)
class Alias:
    """A name for several models.

    Attributes:
        targets: the models, each as a request names it.
        weights: how often each comes first, compared with the others; empty: they stand in order.
    """

    targets: tuple[str, ...]
    weights: tuple[float, ...] = ()


class ProviderRegistry:
    """All providers by name.

    Args:
        providers: those that can be named in a request, by name.
        configured: names of those that were set up (a key, an address, a flag): they are listed, and they may answer a
            request that names nothing.
        default_model: the model of a request that names neither model nor provider; empty: the default model of the
            first that is configured of openai, anthropic, gemini, ollama, those with other names, local and scripted.
        models: model names that belong to a provider by configuration.
        terms: those of the providers that have some, by their names.
        aliases: names for several models.
        sources: the providers that a reload can keep, by name; it owns their clients.

    Attributes:
        aliases: names for several models.
        sources: the providers that a reload can keep, by name.
    """

    def __init__(
        self,
        providers: Mapping[str, Provider],
        configured: frozenset[str],
        default_model: str = "",
        models: Mapping[str, str] | None = None,
        terms: Mapping[str, ProviderTerms] | None = None,
        aliases: Mapping[str, Alias] | None = None,
        sources: Mapping[str, Source] | None = None,
    ) -> None:
        self.sources = dict(sources or {})
        self.aliases = dict(aliases or {})
        self._providers = dict(providers)
        self._configured = configured
        self._default_model = default_model
        self._models = dict(models or {})
        self._terms = dict(terms or {})
        # Nothing here changes, so the same names have the same route for as long as the registry lives.
        self._found: dict[tuple[str, str], Route] = {}

    def configured(self) -> list[Provider]:
        """The providers that were set up, by name."""
        return [self._providers[name] for name in sorted(self._configured)]

    def has(self, name: str) -> bool:
        """Whether a request may name this provider."""
        return name in self._providers

    def terms(self, name: str) -> ProviderTerms:
        """The terms of calls to the provider of that name."""
        return self._terms.get(name, _NO_TERMS)

    def default(self) -> Route | None:
        """The route of a request that names neither model nor provider; None when there is none."""
        if self._default_model:
            return self.resolve(self._default_model, "")
        own = sorted(self._configured.difference(FIRST, LAST))
        for name in (*FIRST, *own, *LAST):
            if name in self._configured and (model := self._providers[name].default_model):
                return Route(self._providers[name], model)
        return None

    def routes(self, model: str, provider: str) -> tuple[list[Route], tuple[float, ...]]:
        """The routes for this model and provider: several for an alias, with their weights where it has some.

        Raises HeadwaterError as `resolve` does.
        """
        name = model or ("" if provider else self._default_model)
        alias = None if provider else self.aliases.get(name)
        if alias is None:
            return [self._found.get((model, provider)) or self.resolve(model, provider)], ()
        return [self._of_model(target) for target in alias.targets], alias.weights

    def resolve(self, model: str, provider: str) -> Route:
        """The route for this model and provider, either of which may be empty; of an alias, that of its first model.

        Raises HeadwaterError: PROVIDER_NOT_FOUND for a provider that is not here or a model that none here has,
        INVALID_REQUEST when nothing is named and there is no default.
        """
        route = self._found.get((model, provider))
        if route is None:
            if len(self._found) >= MODELS:
                self._found.clear()
            route = self._found[model, provider] = self._find_route(model, provider)
        return route

    def _find_route(self, model: str, provider: str) -> Route:
        if provider:
            return self._of_provider(self._provider(provider), model)
        if not model:
            default = self.default()
            if default is None:
                *some, last = (kind.setup for kind in TYPES.values() if kind.setup)
                cure = f"set {', '.join(some)} or {last} for the server, or its default_model"
                raise invalid("model", f"names no model, and the server has no default; {cure}")
            return default
        return self._of_model(self.aliases[model].targets[0] if model in self.aliases else model)

    def _of_model(self, model: str) -> Route:
        prefix, slash, rest = model.partition("/")
        if slash and prefix in self._providers:
            return self._of_provider(self._providers[prefix], rest)
        name = self._models.get(model) or type_of_model(model)
        if name is None or name not in self._providers:
            aliases = ", ".join(sorted(self.aliases))[:200]
            what = f"no provider here is known to have the model {_shown(model)}"
            what += f", and it is none of the aliases {aliases}" if aliases else ""
            raise self._not_found(what, name or prefix, model=model)
        return Route(self._providers[name], model)

    def provider(self, name: str) -> Provider:
        """The provider of that name, or the default one for an empty name.

        Raises HeadwaterError as `resolve` does.
        """
        return self._provider(name) if name else self.resolve("", "").provider

    def _of_provider(self, provider: Provider, model: str) -> Route:
        model = model.removeprefix(f"{provider.name}/") or provider.default_model
        if not model:
            raise invalid("model", f"names no model, and the provider {provider.name} has no default_model")
        return Route(provider, model)

    def _provider(self, name: str) -> Provider:
        if name not in self._providers:
            raise self._not_found(f"no provider is called {_shown(name)} here", name, provider=name)
        return self._providers[name]

    def _not_found(self, what: str, wanted: str, **metadata: str) -> HeadwaterError:
        """The error of a request that wants a provider, or a model of one, that was not set up."""
        names = ", ".join(sorted(self._configured)) or "none"
        kind = TYPES.get(wanted)
        cure = f"set {kind.setup} for the server" if kind and kind.setup else "configure [providers.NAME]"
        message = f"{what}; configured: {names}. Name one of them as provider, or {cure}"
        return HeadwaterError(
            Reason.PROVIDER_NOT_FOUND,
            message,
            metadata={**{key: value[:100] for key, value in metadata.items()}, "configured": names[:500]},
        )

    async def open(self) -> None:
        """Starts the parts that must run before the first call. Raises HeadwaterError when one cannot start."""
        for provider in self._providers.values():
            await provider.open()

    async def drain(self, seconds: float) -> None:
        """Waits, up to `seconds`, for users in other processes of programs that run here."""
        await asyncio.gather(*(provider.drain(seconds) for provider in self._providers.values()))

    async def aclose(self, others: Iterable[ProviderRegistry] = ()) -> None:
        """Closes every provider and its client, but for those that one of the others has too."""
        kept = {source for other in others for source in other.sources.values()}
        kept_providers = {id(source.provider) for source in kept}
        for provider in self._providers.values():
            if id(provider) not in kept_providers:
                await provider.aclose()
        for source in self.sources.values():
            if source not in kept:
                await source.client.aclose()


def fit_params(provider: Provider, request: ChatRequest, drop: bool) -> tuple[ChatRequest, list[str]]:
    """The request with only the sampling parameters that the model takes, and the names of those left out.

    Raises HeadwaterError (INVALID_REQUEST) that names them, unless they may be dropped.
    """
    if not (request.sampling or request.provider_options):  # these may name an API that there is not
        return request, []
    supported = provider.supported_params(request)
    if request.sampling.keys() <= supported:
        return request, []
    unsupported = [name for name in request.sampling if name not in supported]
    if not drop:
        cure = "leave it out, or set unsupported_params to DROP"
        what = f"is not a parameter of {provider.name}'s model {_shown(request.model)}; {cure}"
        raise invalid_request([FieldViolation(name, what) for name in unsupported])
    kept = {name: value for name, value in request.sampling.items() if name in supported}
    return replace(request, sampling=kept), unsupported


def _shown(name: str) -> str:
    return f'"{name[:100]}"'
