"""The common settings of every type of provider; each type adds its own in its folder."""

from __future__ import annotations

import os
from collections.abc import Set
from typing import Annotated, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
)

from headwater_server.providers.setting_values import (
    AUTH_HEADER_NAMES,
    CallerHeaderName,
    FieldPath,
    HeaderName,
    HeaderValue,
    QueryName,
    QueryValue,
    certificates_file,
    http_url,
    proxy_url,
    socket_path,
    without_ending,
)

Seconds = Annotated[float, Field(gt=0, le=86_400)]
Count = Annotated[int, Field(ge=1, lt=2**31)]
Auth = Literal["", "bearer", "api-key", "x-api-key", "x-goog-api-key", "none"]


class ProviderSettings(BaseModel):
    """The settings of one provider; `type` says which class holds them.

    `first_chunk_seconds`, `next_chunk_seconds`, `max_silence_seconds` and `total_seconds` are limits of its replies in
    time; they go over those of the server. `max_concurrent`, `requests_per_minute` and `tokens_per_minute` limit how
    much it is asked; a call past them waits for `max_wait_seconds`, and is refused then.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: str
    first_chunk_seconds: Seconds | None = None
    next_chunk_seconds: Seconds | None = None
    max_silence_seconds: Seconds | None = None
    total_seconds: Seconds | None = None
    max_concurrent: Count | None = None
    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    max_wait_seconds: float = Field(0.0, ge=0, le=60)

    def is_offered(self, *, is_configured: bool) -> bool:
        """Whether a request may name the provider, given whether it was set up."""
        return True

    def is_configured(self, chosen: Set[str]) -> bool:
        """Whether the provider was set up, given the keys that are not defaults."""
        return False


class HttpSettings(ProviderSettings):
    """A provider at an address, with a key.

    `models` are the names that are routed to it without naming the provider. The key comes from one of `token_command`
    (a program and its arguments), `api_key_file` and the variable that `api_key_env` names, in this order.
    `token_lifetime_seconds` holds for tokens of the command that do not say when they expire. `preset` is the service
    whose settings stand behind these (see `presets`).

    The values of `headers` and `query` go with every call; `${NAME}` in them, and in `proxy`, stands for a variable of
    the environment. `caller_headers` are the headers that a caller may add. With `allow_private_urls` a caller may name
    images in a private network, which the provider then fetches (see `caller_urls`). `auth` says which header carries
    the key. Fields in `omit` are left out of each body; `a.b` names the field b of the object a. `connect_seconds` goes
    over that of the server.
    """

    ENDINGS: ClassVar[tuple[str, ...]] = ()
    """Paths below the base URL that people give with it; they are taken off."""

    base_url: Annotated[str, AfterValidator(http_url)]
    api_key_env: str = ""
    api_key_file: Annotated[str, AfterValidator(os.path.expanduser)] = ""
    token_command: tuple[Annotated[str, StringConstraints(min_length=1)], ...] = ()
    token_lifetime_seconds: float = Field(300.0, gt=0, le=86_400)
    preset: str = ""
    auth: Auth = ""
    headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict)
    caller_headers: tuple[CallerHeaderName, ...] = ()
    allow_private_urls: bool = False
    query: dict[QueryName, QueryValue] = Field(default_factory=dict)
    omit: tuple[FieldPath, ...] = ()
    ca_file: Annotated[str, AfterValidator(certificates_file)] = ""
    proxy: Annotated[str, AfterValidator(proxy_url)] = ""
    unix_socket: Annotated[str, AfterValidator(socket_path)] = ""
    connect_seconds: Seconds | None = None
    default_model: str = ""
    models: tuple[str, ...] = ()

    @property
    def key_header(self) -> str:
        """`auth`, or what it is for this type of provider where it is not set."""
        return self.auth or "bearer"

    def is_offered(self, *, is_configured: bool) -> bool:
        """See ProviderSettings. One that was not set up is asked only with a key, which is the caller's own."""
        return is_configured or (bool(self.api_key_env) and self.key_header != "none")

    def is_configured(self, chosen: Set[str]) -> bool:
        """See ProviderSettings: its address or a source of its key was chosen, or that it takes none."""
        if "auth" in chosen and self.auth == "none":
            return True
        return not chosen.isdisjoint({"base_url", "api_key_file", "token_command", "preset", "unix_socket"})

    def texts_with_variables(self) -> list[tuple[tuple[str, ...], str]]:
        """The settings that may name variables, each with the path of its key."""
        tables = {"headers": self.headers, "query": self.query}
        texts = [((table, key), value) for table, values in tables.items() for key, value in values.items()]
        return [*texts, (("proxy",), self.proxy)]

    @field_validator("base_url")
    @classmethod
    def _without_endings(cls, url: str) -> str:
        return without_ending(url, cls.ENDINGS)

    @field_validator("token_command")
    @classmethod
    def _one_source(cls, command: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if command and info.data.get("api_key_file"):
            raise ValueError("cannot stand beside api_key_file; leave one of them out")
        return command

    @field_validator("headers")
    @classmethod
    def _one_key(cls, headers: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        if (double := AUTH_HEADER_NAMES & headers.keys()) and info.data.get("auth") != "none":
            raise ValueError(f'{min(double)} carries the key; set auth = "none" to send it from here instead')
        return headers

    @field_validator("unix_socket")
    @classmethod
    def _plain(cls, path: str, info: ValidationInfo) -> str:
        if path and (info.data.get("proxy") or not info.data.get("base_url", "http://").startswith("http://")):
            raise ValueError("needs a base_url that begins with http://, and no proxy")
        return path
