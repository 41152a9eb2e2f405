"""The settings of a provider of the type `anthropic`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from headwater_server.providers.settings import HttpSettings


class AnthropicSettings(HttpSettings):
    """Anthropic, or a server that speaks its API. `max_tokens` is sent when the caller sets none."""

    type: Literal["anthropic"] = "anthropic"
    max_tokens: int = Field(8192, ge=1)
