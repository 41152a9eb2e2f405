"""The settings that a running server can take over: providers, aliases, prices, the default model, fallback, limits in
time.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import TypeAlias

from headwater_server.attempts.circuits import Circuits
from headwater_server.attempts.offers import Offer, Offers
from headwater_server.attempts.policy import AttemptSettings
from headwater_server.callers.accounts import Accounts
from headwater_server.config.callers import limits_of
from headwater_server.config.loading import load
from headwater_server.config.providers import build_prices, build_providers, check_default
from headwater_server.config.resolved import Config
from headwater_server.config.settings import ServerSettings
from headwater_server.providers.http.client import HttpClient
from headwater_server.providers.registry import ProviderRegistry
from headwater_server.streaming.answerer import Timeouts

RELOADED = frozenset(
    {
        "default_model",
        "connect_seconds",
        "first_chunk_seconds",
        "next_chunk_seconds",
        "max_silence_seconds",
        "total_seconds",
        "max_attempts",
        "retry_wait_seconds",
        "max_retry_wait_seconds",
        "cool_down_seconds",
        "fallback_on_refusal",
    }
)
"""The settings of `[server]` that a reload changes; the others need a restart."""

Use: TypeAlias = Callable[[Config], Awaitable[None]]
"""Puts a configuration in force. Raises ConfigError or HeadwaterError, and then has changed nothing."""


def reread(current: Config, environment: Mapping[str, str] = os.environ) -> tuple[Config, list[str]]:
    """Reads the layers of a configuration again.

    Returns the configuration to put in force, in which settings that need a restart stay as they are, and the names of
    those that were changed all the same. Raises ConfigError with every mistake.
    """
    fresh = load(current.file, environment, current.flags)
    before, after = current.settings.server, fresh.settings.server
    needs_restart = [
        name
        for name in ServerSettings.model_fields
        if name not in RELOADED and getattr(before, name) != getattr(after, name)
    ]
    server = after.model_copy(update={name: getattr(before, name) for name in needs_restart})
    settings = fresh.settings.model_copy(update={"server": server})
    return replace(fresh, settings=settings), [f"server.{name}" for name in needs_restart]


def timeouts(settings: ServerSettings) -> Timeouts:
    """The limits of a stream in time."""
    return Timeouts(
        settings.first_chunk_seconds, settings.next_chunk_seconds, settings.max_silence_seconds, settings.total_seconds
    )


def attempt_settings(settings: ServerSettings) -> AttemptSettings:
    """The settings for a provider that fails before the first chunk."""
    return AttemptSettings(
        settings.max_attempts,
        settings.retry_wait_seconds,
        settings.max_retry_wait_seconds,
        settings.fallback_on_refusal,
    )


def build_offer(config: Config, user_agent: str, before: ProviderRegistry | None = None) -> Offer:
    """The offer of a configuration, not opened yet; of the providers before, those with the same settings are kept.

    Raises ConfigError for a proxy of the environment that is none, and for an alias, a default_model or a price without
    a provider here.
    """
    server, prices = config.settings.server, build_prices(config)
    providers = build_providers(config, partial(HttpClient, user_agent, server.connect_seconds), before)
    check_default(providers, config)
    return Offer(providers, timeouts(server), attempt_settings(server), prices, limits_of(config.settings.callers))


async def reload_offers(
    config: Config,
    offers: Offers,
    circuits: Circuits,
    accounts: Accounts,
    user_agent: str,
    named: Callable[[Iterable[tuple[str, str]]], object] = lambda _: None,
) -> None:
    """Lets requests that begin from now on be answered as this configuration says; running streams stay as they are.

    `named` is called with the models that it names.

    Raises ConfigError as `build_offer` does, and HeadwaterError when a provider cannot start or the accounts of callers
    cannot be used; then nothing has changed.
    """
    before = offers.current.providers
    offer = build_offer(config, user_agent, before)
    try:
        await offer.providers.open()
        if offer.callers.has_accounts:
            await accounts.open()
    except BaseException:
        await offer.providers.aclose([before])
        raise
    offers.replace(offer)
    named(offer.named_models())
    circuits.seconds = config.settings.server.cool_down_seconds
