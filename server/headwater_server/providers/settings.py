"""What the settings of every type of provider have in common; each type adds its own in its folder."""

from __future__ import annotations

import re
from collections.abc import Set
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict


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
        """Whether somebody set the provider up, given the keys that are not defaults."""
        return False


class HttpSettings(ProviderSettings):
    """A provider at an address, with a key.

    `models` are the names that are routed to it without naming the provider.
    """

    base_url: HttpUrl
    api_key_env: str = ""
    default_model: str = ""
    models: tuple[str, ...] = ()

    def is_configured(self, chosen: Set[str]) -> bool:
        """See ProviderSettings: its address was chosen."""
        return "base_url" in chosen
