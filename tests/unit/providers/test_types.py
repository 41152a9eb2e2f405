"""The registered types of providers: which of them has a model, by its name alone."""

from __future__ import annotations

import pytest

from headwater_server.providers.types import type_of_model

OPENAI = [
    "gpt-4o-mini", "gpt-4.1", "gpt-3.5-turbo", "gpt-5.4-mini", "gpt-6-luna", "gpt-audio-mini",
    "gpt-daybreak-blue-latest",
    "gpt-rosalind-research", "o1", "o1-mini", "o3", "o3-deep-research", "o4-mini", "chatgpt-4o-latest",
    "codex-mini-latest", "computer-use-preview", "computer-use-preview-2025-03-11", "ft:gpt-4.1:org::id",
]  # fmt: skip
ANTHROPIC = ["claude-sonnet-4-6", "claude-opus-5-5", "claude-mythos-preview", "claude-3-5-sonnet-latest", "claude-2.1"]
OLLAMA = [
    "gpt-oss", "gpt-oss:20b", "gpt-oss:120b-cloud", "llama3.2", "llama3.2:latest", "qwen3.5:9b", "qwq", "gemma4",
    "mistral", "mixtral", "deepseek-r1", "phi4", "nobody-knows:7b", "claude-clone:7b", "library/foo:1b", "hf.co/a/b:Q4",
]  # fmt: skip
UNKNOWN = ["", "nope", "o5000", "o31", "deepseek-reasoner", "Qwen/Qwen3.5-35B-A3B", "gpt", "claude", "@x"]


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        *((model, "openai") for model in OPENAI),
        *((model, "anthropic") for model in ANTHROPIC),
        *((model, "ollama") for model in OLLAMA),
        *((model, None) for model in UNKNOWN),
    ],
)
def test_who_has_a_model(model: str, provider: str | None) -> None:
    assert type_of_model(model) == provider
    if "@" not in model:
        assert type_of_model(f"{model}@2026:x/y") == provider
