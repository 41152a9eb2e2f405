"""The providers that a configuration offers."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from headwater_server.config.mistakes import ConfigError
from headwater_server.config.resolved import Config
from headwater_server.domain.costs.prices import ANY, Price, PriceTable
from headwater_server.domain.errors import HeadwaterError
from headwater_server.providers.gate import Gate, GateLimits
from headwater_server.providers.http.client import HttpClient
from headwater_server.providers.http.proxies import mistake_in_environment
from headwater_server.providers.registry import Alias, ProviderRegistry, ProviderTerms, Source
from headwater_server.providers.settings import HttpSettings, ProviderSettings
from headwater_server.providers.types import TYPES, build_provider


def _check_proxies(config: Config) -> None:
    """Raises ConfigError for a proxy of the environment that is none, where a provider that was set up needs it."""
    set_up = [config.settings.providers[name] for name in config.configured]
    urls = [each.base_url for each in set_up if isinstance(each, HttpSettings) and not (each.proxy or each.unix_socket)]
    if mistakes := sorted(set(filter(None, map(mistake_in_environment, urls)))):
        raise ConfigError(mistakes)


def build_providers(
    config: Config, make_client: Callable[[], HttpClient], before: ProviderRegistry | None = None
) -> ProviderRegistry:
    """All providers that the configuration offers, each with a client for itself, so that it can be closed alone.

    Of those before, the ones whose settings are the same are kept.

    Raises ConfigError for a proxy of the environment that is none, and for an alias of a model that is not here.
    """
    _check_proxies(config)
    sources: dict[str, Source] = {}
    models: dict[str, str] = {}
    configured = set(config.configured)
    for name, settings in config.settings.providers.items():
        if not settings.is_offered(is_configured=name in configured):
            continue
        sources[name] = _source(name, config, make_client, before.sources.get(name) if before else None)
        if TYPES[settings.type].is_ready(settings):
            configured.add(name)
        if isinstance(settings, HttpSettings):
            models.update(dict.fromkeys(settings.models, name))
    default = config.settings.server.default_model
    aliases = {name: Alias(alias.targets, alias.weights) for name, alias in config.settings.models.items()}
    providers = {name: source.provider for name, source in sources.items()}
    terms = {name: source.terms for name, source in sources.items()}
    registry = ProviderRegistry(providers, frozenset(configured), default, models, terms, aliases, sources)
    _check_aliases(registry, config)
    return registry


def _check_aliases(registry: ProviderRegistry, config: Config) -> None:
    """Raises ConfigError for a target of an alias that no provider here has."""
    mistakes = []
    for name in registry.aliases:
        try:
            registry.routes(name, "")
        except HeadwaterError as error:
            origin = config.origins.get(("models", name, "targets"), f"models.{name}.targets")
            wanted = error.metadata.get("model", "")
            is_alias = wanted in registry.aliases
            cure = f'"{wanted}" is an alias, and targets are models; name its models instead'
            mistakes.append(f"{origin}: {cure if is_alias else error.message}")
    if mistakes:
        raise ConfigError(mistakes)


def _source(name: str, config: Config, make_client: Callable[[], HttpClient], before: Source | None) -> Source:
    """The provider of this name: the one before if it is made of the same, else a new one."""
    settings = config.settings.providers[name]
    is_ready = TYPES[settings.type].is_ready(settings)
    made_of = (settings, config.settings.server.connect_seconds, is_ready, _stamp(settings))
    if before and before.made_of == made_of:
        return before
    client = make_client()
    provider = build_provider(name, settings, client, config.keys.get(name, ""), config.variables)
    return Source(provider, client, made_of, _terms(name, settings, before.terms.gate if before else None))


def _stamp(settings: ProviderSettings) -> tuple[int, ...]:
    """Differs when the provider's `ca_file` has changed."""
    if not (isinstance(settings, HttpSettings) and settings.ca_file):
        return ()
    found = os.stat(settings.ca_file)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _gate(name: str, settings: ProviderSettings, before: Gate | None) -> Gate | None:
    """The gate of a provider, the one before if its limits are the same; None where there are no limits."""
    limits = GateLimits(
        settings.max_concurrent, settings.requests_per_minute, settings.tokens_per_minute, settings.max_wait_seconds
    )
    if before and before.limits == limits:
        return before
    return None if limits == GateLimits(max_wait_seconds=limits.max_wait_seconds) else Gate(f"providers.{name}", limits)


def _terms(name: str, settings: ProviderSettings, gate: Gate | None) -> ProviderTerms:
    """The terms of calls to a provider; `gate` is the one before."""
    return ProviderTerms(
        settings.first_chunk_seconds,
        settings.next_chunk_seconds,
        settings.max_silence_seconds,
        settings.total_seconds,
        frozenset(settings.caller_headers if isinstance(settings, HttpSettings) else ()),
        _gate(name, settings, gate),
        isinstance(settings, HttpSettings) and settings.allow_private_urls,
    )


def build_prices(config: Config) -> PriceTable:
    """The prices of models. Raises ConfigError for those of a provider that the configuration does not have."""
    prices, mistakes = {}, []
    for name, price in config.settings.prices.items():
        prices[name] = Price(price.input, price.output, price.cached_input, price.cache_write, price.reasoning)
        provider = name.partition("/")[0]
        if provider not in (ANY, *config.settings.providers):
            origin = config.origins.get(("prices", name, "input"), f"prices.{name}")
            there = ", ".join(config.settings.providers)
            mistakes.append(f"{origin}: there is no provider {provider}; there are {there}")
    if mistakes:
        raise ConfigError(mistakes)
    return PriceTable(prices)


def check_default(providers: ProviderRegistry, config: Config) -> None:
    """Raises ConfigError for a default_model that no provider here has, before a caller meets it."""
    try:
        providers.default()
    except HeadwaterError as error:
        origin = config.origins.get(("server", "default_model"), "default_model")
        raise ConfigError([f"{origin}: {error.message}"]) from error


async def default_answer(config: Config) -> str:
    """Which model answers a request that names nothing, as `provider/model`; empty for none.

    Raises ConfigError for a default_model that no provider here has.
    """
    providers = build_providers(config, partial(HttpClient, "headwater"))
    try:
        check_default(providers, config)
        default = providers.default()
    finally:
        await providers.aclose()
    return f"{default.provider.name}/{default.model}" if default else ""
