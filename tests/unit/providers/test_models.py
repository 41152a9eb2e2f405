"""What is known of models by their names."""

from __future__ import annotations

import pytest

from headwater_server.domain.messages import ReasoningEffort
from headwater_server.providers.models import (
    anthropic_efforts,
    anthropic_takes_sampling,
    is_openai_reasoning,
    openai_api,
    openai_refused_params,
    provider_type_for,
)

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
    assert provider_type_for(model) == provider
    if "@" not in model:
        assert provider_type_for(f"{model}@2026:x/y") == provider


RESPONSES = [
    "o1-pro", "o3-pro-2025-06-10", "o4-mini-deep-research", "computer-use-preview", "gpt-5-codex", "gpt-5.1-codex-max",
    "gpt-5-pro", "gpt-5.2-pro-2025-12-11", "gpt-5.4", "gpt-5.4-nano-2026-03-17", "gpt-5.5", "gpt-5.10", "gpt-6-sol",
    "gpt-6.1-sol@x", "gpt-6-cyber", "gpt-7", "gpt-10", "gpt-daybreak-red-latest", "gpt-rosalind-research",
]  # fmt: skip
CHAT = [
    "gpt-5", "gpt-5.1", "gpt-5.3-chat-latest", "gpt-5-2025-08-07", "gpt-4o", "gpt-4.1", "gpt-4-0125-preview",
    "gpt-4-vision-preview", "gpt-3.5-turbo-0125", "gpt-35-turbo", "o3", "o4-mini", "o1-preview", "ft:gpt-4.1:org::id",
    "unheard-of",
]  # fmt: skip


@pytest.mark.parametrize(
    ("model", "api"), [*((m, "responses") for m in RESPONSES), *((m, "chat_completions") for m in CHAT)]
)
def test_which_api_of_openai_a_model_is_asked_over(model: str, api: str) -> None:
    assert openai_api(model) == api


@pytest.mark.parametrize("model", ["o1", "o3-mini", "o4-mini", "gpt-5", "gpt-5.1", "gpt-5.4-mini", "gpt-6-luna@x"])
def test_a_reasoning_model(model: str) -> None:
    assert is_openai_reasoning(model)


@pytest.mark.parametrize(
    "model", ["gpt-4o", "gpt-4.1-nano", "gpt-5-chat-latest", "chatgpt-4o-latest", "ft:gpt-4o:a::b"]
)
def test_a_model_that_does_not_reason(model: str) -> None:
    assert not is_openai_reasoning(model)


@pytest.mark.parametrize(
    ("model", "refused"),
    [
        ("gpt-4o", {"reasoning_effort"}),
        ("gpt-5", {"temperature", "top_p", "frequency_penalty", "presence_penalty"}),
        ("o1", {"temperature", "top_p", "frequency_penalty", "presence_penalty", "parallel_tool_calls"}),
    ],
)
def test_what_a_model_of_openai_does_not_take(model: str, refused: set[str]) -> None:
    assert openai_refused_params(model) == refused


@pytest.mark.parametrize(
    ("model", "lacking"),
    [
        ("claude-opus-4-8", set()),
        ("claude-opus-5", set()),
        ("claude-haiku-5-5", set()),
        ("claude-sonnet-4-6", {"xhigh"}),
        ("claude-opus-5-5", {"none"}),
        ("claude-sonnet-5-5@2026", {"none"}),
        ("claude-fable-5-1", {"none"}),
        ("claude-mythos-preview", {"none"}),
        ("claude-sonnet-4-5", set(ReasoningEffort) - {"none"}),
        ("claude-3-5-haiku-latest", set(ReasoningEffort)),
        ("smollm2", set(ReasoningEffort)),
    ],
)
def test_which_efforts_a_model_on_anthropics_api_lacks(model: str, lacking: set[str]) -> None:
    assert frozenset(ReasoningEffort) - anthropic_efforts(model) == lacking


def test_o3_and_o4_mini_take_no_stop_sequences() -> None:
    refusing = ["o3", "o3-2025-04-16", "o4-mini", "o4-mini-2025-04-16"]
    assert [
        model for model in [*refusing, "o1", "o3-mini", "gpt-5", "gpt-4o"] if "stop" in openai_refused_params(model)
    ] == refusing


@pytest.mark.parametrize(
    "model",
    [
        "claude-2.1", "claude-instant-1.2", "claude-3-5-sonnet-latest", "claude-3-opus-20240229", "claude-opus-4-0",
        "claude-opus-4-20250514", "claude-opus-4-1@20250805", "claude-sonnet-4-5-20250929", "claude-haiku-4-5",
        "claude-opus-4-6", "claude-sonnet-4-6", "smollm2", "local-model",
    ],
)  # fmt: skip
def test_a_model_on_anthropics_api_that_takes_temperature(model: str) -> None:
    assert anthropic_takes_sampling(model)


@pytest.mark.parametrize(
    "model",
    [
        "claude-opus-4-7", "claude-opus-4-8", "claude-opus-5", "claude-sonnet-5-5", "claude-haiku-5-5@x",
        "claude-fable-5",
        "claude-fable-5-2", "claude-mythos-5-1", "claude-mythos-preview", "claude-sonnet-10-1",
    ],
)  # fmt: skip
def test_a_model_on_anthropics_api_that_takes_no_temperature(model: str) -> None:
    assert not anthropic_takes_sampling(model)
