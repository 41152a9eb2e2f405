"""The settings of a provider of the type `anthropic`."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from headwater_server.providers.presets import vendor
from headwater_server.providers.settings import HttpSettings

TOKEN_VARIABLE = "ANTHROPIC_AUTH_TOKEN"  # noqa: S105  the name of a variable
"""The variable of a token, which goes as a bearer; that of a key is ANTHROPIC_API_KEY."""


class AnthropicSettings(HttpSettings):
    """Anthropic, or a server that speaks its API. `max_tokens` is sent when the caller sets none.

    A key goes to Anthropic as a bearer, and to other servers in the header `x-api-key`, which is the one that they
    know; a token always goes as a bearer.
    """

    ENDINGS: ClassVar[tuple[str, ...]] = ("/v1/messages", "/v1/models", "/v1")

    type: Literal["anthropic"] = "anthropic"
    max_tokens: int = Field(8192, ge=1)

    @property
    def key_header(self) -> str:
        """See HttpSettings."""
        is_key = self.api_key_env != TOKEN_VARIABLE and not self.token_command
        other = "x-api-key" if is_key and vendor(self.preset, self.base_url) != "anthropic" else "bearer"
        return self.auth or other
