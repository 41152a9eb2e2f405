"""The type of provider `ollama`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater_server.providers.ollama.settings import OllamaSettings, url_of_host
from headwater_server.providers.registration import BuildContext, ProviderType, Routes, Variable

if TYPE_CHECKING:
    from headwater_server.providers.base import Provider

_FAMILIES = (
    "aya", "bakllava", "codegemma", "codellama", "codestral", "cogito", "command-r", "deepseek-coder", "deepseek-r1",
    "deepseek-v", "devstral", "dolphin", "exaone", "falcon", "gemma", "glm", "gpt-oss", "granite", "hermes", "llama",
    "llava", "magistral", "minicpm", "ministral", "mistral", "mixtral", "moondream", "nomic-embed", "nous-hermes",
    "olmo", "openchat", "openthinker", "orca", "phi", "qwen", "qwq", "smollm", "solar", "stablelm", "starcoder",
    "tinyllama", "vicuna", "wizard", "zephyr",
)  # fmt: skip


def _build(name: str, settings: OllamaSettings, context: BuildContext) -> Provider:
    from headwater_server.providers.ollama.provider import build

    return build(name, settings, context)


OLLAMA = ProviderType(
    name="ollama",
    settings=OllamaSettings,
    build=_build,
    defaults={"base_url": "http://127.0.0.1:11434", "default_model": "llama3.2"},
    environment=(Variable("OLLAMA_HOST", "base_url", url_of_host),),
    setup="OLLAMA_HOST",
    routes=Routes(prefixes=_FAMILIES, tagged=("",)),  # every name with a tag (`gpt-oss:20b`)
)
