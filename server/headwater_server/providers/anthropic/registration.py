"""The type of provider `anthropic`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater_server.providers.anthropic.settings import AnthropicSettings
from headwater_server.providers.registration import BuildContext, ProviderType, Routes, Variable

if TYPE_CHECKING:
    from headwater_server.providers.base import Provider


def _build(name: str, settings: AnthropicSettings, context: BuildContext) -> Provider:
    from headwater_server.providers.anthropic.provider import build

    return build(name, settings, context)


ANTHROPIC = ProviderType(
    name="anthropic",
    settings=AnthropicSettings,
    build=_build,
    defaults={
        "base_url": "https://api.anthropic.com",
        "api_key_env": "ANTHROPIC_API_KEY",
        "default_model": "claude-sonnet-4-6",
    },
    environment=(Variable("ANTHROPIC_BASE_URL", "base_url"),),
    setup="ANTHROPIC_API_KEY",
    routes=Routes(prefixes=("claude-",)),
)
