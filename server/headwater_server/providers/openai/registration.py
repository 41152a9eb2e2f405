"""The type of provider `openai`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater_server.providers.openai.settings import OpenAISettings
from headwater_server.providers.registration import BuildContext, ProviderType, Routes, Variable

if TYPE_CHECKING:
    from headwater_server.providers.base import Provider


def _build(name: str, settings: OpenAISettings, context: BuildContext) -> Provider:
    from headwater_server.providers.openai.provider import build

    return build(name, settings, context)


OPENAI = ProviderType(
    name="openai",
    settings=OpenAISettings,
    build=_build,
    defaults={
        "base_url": "https://api.openai.com/v1",
        "api_key_env": "OPENAI_API_KEY",
        "default_model": "gpt-4o-mini",
    },
    environment=(Variable("OPENAI_BASE_URL", "base_url"),),
    setup="OPENAI_API_KEY",
    routes=Routes(
        names=frozenset({"o1", "o3", "o4"}),
        prefixes=("gpt-", "chatgpt-", "codex-", "computer-use-preview", "o1-", "o3-", "o4-"),
        tagged=("ft:",),  # `ft:gpt-4.1:org::id`, a fine-tuned model
    ),
)
