"""The settings of callers that the configuration names."""

from __future__ import annotations

import os
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from headwater_server.domain.secret_text import looks_like_name
from headwater_server.providers.http.loopback import is_loopback
from headwater_server.providers.setting_values import certificates_file, http_url

IssuerName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Claim = Annotated[str, StringConstraints(min_length=1, max_length=256)]


def _several(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _keys_url(value: str) -> str:
    url = http_url(value) if value else ""
    if url and not (url.startswith("https://") or is_loopback(urlsplit(url).hostname or "")):
        raise ValueError("must begin with https://: a program that changes the keys on the way becomes any caller")
    return url


def _prefix(value: str) -> str:
    if value and not (looks_like_name(value) and len(value) <= 64):
        raise ValueError("has 1 to 64 letters, digits and ._:/@+=~,-")
    return value


class JwtSettings(BaseModel):
    """`[jwt.NAME]`: an issuer of JWT, whose tokens name callers.

    `issuer`: the claim `iss` of its tokens. `audience`: their claim `aud` must have one of these. `jwks_url` or
    `jwks_file`: its public keys; the file is followed when it changes, the URL is fetched every `refresh_seconds`, and
    for a key that is not known. `ca_file`: certificates to trust for that, instead of the system's. `leeway_seconds`:
    how far the clocks of issuer and server may be apart. `caller_claim`: the claim with the name of the caller.
    `scope_claim`: the claim with its scopes, as words of a text or a list. `caller_prefix`: stands before the name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    issuer: Claim
    audience: Annotated[tuple[Claim, ...], BeforeValidator(_several), Field(min_length=1, max_length=32)]
    jwks_url: Annotated[str, AfterValidator(_keys_url)] = ""
    jwks_file: Annotated[str, AfterValidator(os.path.expanduser)] = ""
    ca_file: Annotated[str, AfterValidator(certificates_file)] = ""
    refresh_seconds: float = Field(300.0, ge=5, le=86_400)
    leeway_seconds: float = Field(30.0, ge=0, le=600)
    caller_claim: Claim = "sub"
    scope_claim: Claim = "scope"
    caller_prefix: Annotated[str, AfterValidator(_prefix)] = ""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if bool(self.jwks_url) == bool(self.jwks_file):
            raise ValueError("needs one of jwks_url and jwks_file, the public keys of the issuer")
        if self.ca_file and not self.jwks_url:
            raise ValueError("ca_file is for jwks_url; leave it out")
        return self


def mistakes_of_issuers(issuers: dict[str, JwtSettings]) -> list[str]:
    """A mistake for each issuer that stands in two tables: a token could not tell which of them is meant."""
    seen: dict[str, str] = {}
    return [
        f"jwt.{name}.issuer: stands in jwt.{first}.issuer too"
        for name, settings in issuers.items()
        if (first := seen.setdefault(settings.issuer, name)) != name
    ]
