"""The common settings of every type of provider; each type adds its own in its folder."""

from __future__ import annotations

import os
import re
from collections.abc import Set
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
)


def _http_url(value: str) -> str:
    if not value.startswith(("http://", "https://")):
        raise ValueError("must begin with http:// or https://")
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"is not a URL: {error}") from error
    if not parts.hostname or port == 0 or not re.fullmatch(r"[!-~]+", value):
        raise ValueError("is not a URL: it needs a host, and no spaces")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("must hold no user, password, query or fragment; a key belongs in the variable of api_key_env")
    return value.rstrip("/")


HttpUrl = Annotated[str, AfterValidator(_http_url)]


class ProviderSettings(BaseModel):
    """The settings of one provider; `type` says which class holds them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: str

    @property
    def is_offered(self) -> bool:
        """Whether a request may name the provider."""
        return True

    def is_configured(self, chosen: Set[str]) -> bool:
        """Whether the provider was set up, given the keys that are not defaults."""
        return False


class HttpSettings(ProviderSettings):
    """A provider at an address, with a key.

    `models` are the names that are routed to it without naming the provider. The key comes from one of `token_command`
    (a program and its arguments), `api_key_file` and the variable that `api_key_env` names, in this order.
    `token_lifetime_seconds` holds for tokens of the command that do not say when they expire.
    """

    base_url: HttpUrl
    api_key_env: str = ""
    api_key_file: Annotated[str, AfterValidator(os.path.expanduser)] = ""
    token_command: tuple[Annotated[str, StringConstraints(min_length=1)], ...] = ()
    token_lifetime_seconds: float = Field(300.0, gt=0, le=86_400)
    default_model: str = ""
    models: tuple[str, ...] = ()

    def is_configured(self, chosen: Set[str]) -> bool:
        """See ProviderSettings: its address or a source of its key was chosen."""
        return not chosen.isdisjoint({"base_url", "api_key_file", "token_command"})

    @field_validator("token_command")
    @classmethod
    def _one_source(cls, command: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if command and info.data.get("api_key_file"):
            raise ValueError("cannot stand beside api_key_file; leave one of them out")
        return command
