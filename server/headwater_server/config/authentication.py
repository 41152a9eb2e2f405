"""The parts of the server that know the callers of the configuration."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import structlog

from headwater_server.callers.certificates.certificate_callers import CertificateCallers
from headwater_server.callers.hook import HookedCallers, HookError, find_hook
from headwater_server.callers.issuers.jwt_issuers import IssuerTerms, JwtIssuer, JwtIssuers
from headwater_server.callers.issuers.key_set import MAX_BYTES, KeysError
from headwater_server.callers.issuers.key_sources import Fetch, KeyFile, KeySource, KeyUrl
from headwater_server.callers.known_callers import NO_ONE, ConfiguredCallers, KnownCallers
from headwater_server.callers.tokens import TokenError
from headwater_server.config.callers import settings_of
from headwater_server.config.doors import needs_no_caller
from headwater_server.config.issuers import JwtSettings
from headwater_server.config.mistakes import ConfigError
from headwater_server.config.resolved import Config


def configured_callers(config: Config, fetch: Fetch, before: ConfiguredCallers = NO_ONE) -> ConfiguredCallers:
    """The callers of a configuration; issuers with the same settings as before are kept, with their keys.

    Args:
        config: the configuration.
        fetch: gets the keys at a URL.
        before: the callers in force.

    Raises ConfigError for a file of keys that cannot be used.
    """
    kept = {issuer.made_of: issuer for issuer in before.trusted}
    issuers, mistakes = [], []
    for name, settings in config.settings.jwt.items():
        try:
            issuers.append(kept.get((name, settings)) or _issuer(name, settings, fetch))
        except KeysError as error:
            where = config.origins.get(("jwt", name, "jwks_file"), f"jwt.{name}.jwks_file")
            mistakes.append(f"{where}: {error}")
    if mistakes:
        raise ConfigError(mistakes)
    callers = config.settings.callers
    certificates = {each: name for name, caller in callers.items() for each in caller.certificates or ()}

    def scopes_of(name: str) -> frozenset[str]:
        return frozenset(settings_of(callers, name).scopes or ())

    return ConfiguredCallers(
        JwtIssuers(issuers, scopes_of) if issuers else None,
        CertificateCallers(certificates, scopes_of) if certificates else None,
    )


def _issuer(name: str, settings: JwtSettings, fetch: Fetch) -> JwtIssuer:
    terms = IssuerTerms(
        name,
        settings.issuer,
        settings.audience,
        settings.leeway_seconds,
        settings.caller_claim,
        settings.scope_claim,
        settings.caller_prefix,
    )
    keys: KeySource
    if settings.jwks_file:
        keys = KeyFile(name, Path(settings.jwks_file))
    else:
        keys = KeyUrl(name, partial(fetch, settings.jwks_url, settings.ca_file, MAX_BYTES), settings.refresh_seconds)
    return JwtIssuer(terms, keys, (name, settings))


def _hook(config: Config) -> HookedCallers | None:
    """The authentication hook; None for none. Raises ConfigError for one that cannot be loaded."""
    name = config.settings.server.authentication_hook
    if not name:
        return None
    try:
        return HookedCallers(find_hook(name))
    except HookError as error:
        where = config.origins.get(("server", "authentication_hook"), "server.authentication_hook")
        raise ConfigError([f"{where}: {error}"]) from error


log = structlog.get_logger("headwater.server")

_OPEN = (
    "can be reached from other machines, and the server has no callers, so all may do everything; make a token with "
    "`headwater token create`, require certificates with tls_client_ca_file, or set insecure = true where only callers "
    "that you trust reach the port"
)


def known_callers(config: Config, fetch: Fetch, *, audits: bool) -> KnownCallers:
    """All that may call a server.

    Args:
        config: the configuration.
        fetch: gets the keys at a URL.
        audits: whether this process writes changes of tokens into the log.

    Raises ConfigError for a file of tokens or of keys, or a hook, that cannot be used, and for an open port of a server
    that has no callers.
    """
    server = config.settings.server
    configured, hook = configured_callers(config, fetch), _hook(config)
    try:
        callers = KnownCallers(Path(server.data_dir), configured, hook, audits=audits)
    except TokenError as error:
        raise ConfigError([str(error)]) from error
    if callers.are_all_let_in and not needs_no_caller(server):
        if not server.insecure:
            raise ConfigError([f"{config.origins.get(('server', 'host'), 'server.host')}: {server.host} {_OPEN}"])
        log.warning("no callers", why="all that reach the port may do everything", cure="headwater token create")
    return callers
