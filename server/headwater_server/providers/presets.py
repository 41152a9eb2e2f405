"""Services by name, for `preset` in the configuration: their addresses, and the variables that their users have set.

A preset stands behind the settings of a provider: a key that is set there goes over it. The fields that a server of
OpenAI's API takes follow from the preset too, or from the host (see `openai.profiles`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headwater_server.providers.setting_values import host_of, resolved, variables


@dataclass(frozen=True, slots=True)
class Preset:
    """A service.

    Attributes:
        type: the type of provider.
        base_url: its address; `${NAME}` in it is a variable of the environment.
        keys: the variables that may hold its key; the first that is set counts.
        hosts: its hosts, or the ends of their names, by which it is known without the preset.
        settings: its other settings.
    """

    type: str
    base_url: str
    keys: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def values(self, environment: Mapping[str, str], given: Mapping[str, Any]) -> dict[str, Any]:
        """The settings that are not given. Raises KeyError with a variable that its address needs and is not set."""
        values: dict[str, Any] = {"type": self.type, **self.settings}
        if "token_command" in given:
            values.pop("auth", None)  # that of a key; a token goes as a bearer
        if self.keys and given.keys().isdisjoint({"api_key_file", "token_command"}):
            values["api_key_env"] = next((name for name in self.keys if environment.get(name)), self.keys[0])
        if "base_url" not in given:
            known = {name: environment[name].strip().rstrip("/") for name in variables([self.base_url])}
            values["base_url"] = resolved(self.base_url, known)
        return {key: value for key, value in values.items() if key not in given}


_AZURE_KEYS = ("AZURE_OPENAI_API_KEY",)
_AZURE_HOSTS = (".openai.azure.com", ".services.ai.azure.com", ".cognitiveservices.azure.com")
_BEDROCK = "https://bedrock-mantle.${AWS_REGION}.api.aws"
_BEDROCK_KEYS = ("AWS_BEARER_TOKEN_BEDROCK",)
_GEMINI = "https://generativelanguage.googleapis.com/v1beta"
_GEMINI_KEYS = ("GEMINI_API_KEY", "GOOGLE_API_KEY")
_VERTEX = "https://aiplatform.googleapis.com/v1/projects/${GOOGLE_CLOUD_PROJECT}/locations/global"
_GCLOUD = {"token_command": ["gcloud", "auth", "application-default", "print-access-token"]}

PRESETS: Mapping[str, Preset] = {
    "openai": Preset("openai", "https://api.openai.com/v1", ("OPENAI_API_KEY",), ("api.openai.com", ".api.openai.com")),
    "anthropic": Preset(
        "anthropic", "https://api.anthropic.com", ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"), ("api.anthropic.com",)
    ),
    "azure": Preset("openai", "${AZURE_OPENAI_ENDPOINT}/openai/v1", _AZURE_KEYS, _AZURE_HOSTS, {"auth": "api-key"}),
    "azure-classic": Preset(
        "openai",
        "${AZURE_OPENAI_ENDPOINT}/openai/deployments/{model}",
        _AZURE_KEYS,
        settings={"auth": "api-key", "query": {"api-version": "2024-10-21"}},
    ),
    "bedrock": Preset("openai", f"{_BEDROCK}/v1", _BEDROCK_KEYS),
    "bedrock-responses": Preset("openai", f"{_BEDROCK}/openai/v1", _BEDROCK_KEYS, settings={"api": "responses"}),
    "bedrock-anthropic": Preset("anthropic", f"{_BEDROCK}/anthropic", _BEDROCK_KEYS, settings={"auth": "bearer"}),
    "gemini": Preset("gemini", _GEMINI, _GEMINI_KEYS),
    "gemini-openai": Preset("openai", f"{_GEMINI}/openai", _GEMINI_KEYS, ("generativelanguage.googleapis.com",)),
    "vertex": Preset("gemini", f"{_VERTEX}/publishers/google", settings=_GCLOUD),
    "vertex-openai": Preset("openai", f"{_VERTEX}/endpoints/openapi", (), ("aiplatform.googleapis.com",), _GCLOUD),
    "openrouter": Preset("openai", "https://openrouter.ai/api/v1", ("OPENROUTER_API_KEY",), ("openrouter.ai",)),
    "mistral": Preset("openai", "https://api.mistral.ai/v1", ("MISTRAL_API_KEY",), (".mistral.ai",)),
    "deepseek": Preset("openai", "https://api.deepseek.com", ("DEEPSEEK_API_KEY",), ("api.deepseek.com",)),
    "xai": Preset("openai", "https://api.x.ai/v1", ("XAI_API_KEY",), ("api.x.ai", ".api.x.ai")),
    "groq": Preset("openai", "https://api.groq.com/openai/v1", ("GROQ_API_KEY",), ("api.groq.com",)),
    "together": Preset(
        "openai", "https://api.together.xyz/v1", ("TOGETHER_API_KEY",), ("api.together.xyz", "api.together.ai")
    ),
    "fireworks": Preset(
        "openai", "https://api.fireworks.ai/inference/v1", ("FIREWORKS_API_KEY",), ("api.fireworks.ai",)
    ),
    "vllm": Preset("openai", "http://127.0.0.1:8000/v1", ("VLLM_API_KEY",)),
    "sglang": Preset("openai", "http://127.0.0.1:30000/v1", ("SGLANG_API_KEY",)),
    "llama.cpp": Preset("openai", "http://127.0.0.1:8080/v1", ("LLAMA_API_KEY",)),
    "lmstudio": Preset("openai", "http://127.0.0.1:1234/v1", ("LM_API_TOKEN",)),
}
"""By name."""

MAY_LACK_A_KEY = frozenset({"vllm", "sglang", "llama.cpp", "lmstudio"})
"""The servers that people run themselves, mostly without a key."""


def vendor(preset: str, base_url: str) -> str:
    """The name of the service at an address: the preset, or the one that has the host; empty for an unknown one."""
    if preset:
        return preset
    host = host_of(base_url)
    for name, known in PRESETS.items():
        if any(host == end or (end.startswith(".") and host.endswith(end)) for end in known.hosts):
            return name
    return ""
