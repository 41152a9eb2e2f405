"""The type of provider `gemini`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater_server.providers.gemini.settings import GeminiSettings
from headwater_server.providers.registration import BuildContext, ProviderType, Routes, Variable

if TYPE_CHECKING:
    from headwater_server.providers.base import Provider


def _build(name: str, settings: GeminiSettings, context: BuildContext) -> Provider:
    from headwater_server.providers.gemini.provider import build

    return build(name, settings, context)


GEMINI = ProviderType(
    name="gemini",
    settings=GeminiSettings,
    build=_build,
    defaults={
        "base_url": "https://generativelanguage.googleapis.com/v1beta",
        "api_key_env": "GEMINI_API_KEY",
        "default_model": "gemini-flash-latest",
    },
    environment=(Variable("GOOGLE_GEMINI_BASE_URL", "base_url"),),
    setup="GEMINI_API_KEY",
    routes=Routes(prefixes=("gemini-",)),
)
