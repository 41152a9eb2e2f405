"""Facts about OpenAI's models that follow from their names."""

from __future__ import annotations

import pytest

from headwater_server.providers.openai.models import api_of, is_reasoning, refused_params

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
    assert api_of(model) == api


@pytest.mark.parametrize("model", ["o1", "o3-mini", "o4-mini", "gpt-5", "gpt-5.1", "gpt-5.4-mini", "gpt-6-luna@x"])
def test_a_reasoning_model(model: str) -> None:
    assert is_reasoning(model)


@pytest.mark.parametrize(
    "model", ["gpt-4o", "gpt-4.1-nano", "gpt-5-chat-latest", "chatgpt-4o-latest", "ft:gpt-4o:a::b"]
)
def test_a_model_that_does_not_reason(model: str) -> None:
    assert not is_reasoning(model)


def test_o3_and_o4_mini_take_no_stop_sequences() -> None:
    refusing = ["o3", "o3-2025-04-16", "o4-mini", "o4-mini-2025-04-16"]
    others = ["o1", "o3-mini", "gpt-5", "gpt-4o"]
    assert [model for model in [*refusing, *others] if "stop" in refused_params(model)] == refusing


@pytest.mark.parametrize(
    ("model", "refused"),
    [
        ("gpt-4o", {"reasoning_effort"}),
        ("gpt-5", {"temperature", "top_p", "frequency_penalty", "presence_penalty", "logprobs"}),
        ("o1", {"temperature", "top_p", "frequency_penalty", "presence_penalty", "logprobs", "parallel_tool_calls"}),
    ],
)
def test_the_parameters_that_a_model_refuses(model: str, refused: set[str]) -> None:
    assert refused_params(model) == refused
