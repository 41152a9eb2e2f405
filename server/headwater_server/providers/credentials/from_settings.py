"""The credential that a provider's settings ask for."""

from __future__ import annotations

from pathlib import Path

from headwater_server.providers.credentials.base import Credential, KeyHeader, StaticKey, TokenSource
from headwater_server.providers.credentials.command import CommandToken
from headwater_server.providers.credentials.file import KeyFile
from headwater_server.providers.settings import HttpSettings


def credential(name: str, settings: HttpSettings, key: str) -> Credential:
    """The credential of the provider; a command or file goes over the key, which is that of `api_key_env`."""
    source: TokenSource
    if settings.token_command:
        source = CommandToken(settings.token_command, settings.token_lifetime_seconds, name)
    elif settings.api_key_file:
        source = KeyFile(Path(settings.api_key_file))
    else:
        source = StaticKey(key, f"set {settings.api_key_env} for the server" if settings.api_key_env else "")
    return KeyHeader(source, settings.key_header)
