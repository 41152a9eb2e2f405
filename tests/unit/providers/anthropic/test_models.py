"""Facts about Anthropic's models that follow from their names."""

from __future__ import annotations

import pytest

from headwater_server.domain.messages import ALL_EFFORTS
from headwater_server.providers.anthropic.models import efforts, takes_sampling


@pytest.mark.parametrize(
    "model",
    [
        "claude-2.1", "claude-instant-1.2", "claude-3-5-sonnet-latest", "claude-3-opus-20240229", "claude-opus-4-0",
        "claude-opus-4-20250514", "claude-opus-4-1@20250805", "claude-sonnet-4-5-20250929", "claude-haiku-4-5",
        "claude-opus-4-6", "claude-sonnet-4-6", "smollm2", "local-model",
    ],
)  # fmt: skip
def test_a_model_on_anthropics_api_that_takes_temperature(model: str) -> None:
    assert takes_sampling(model)


@pytest.mark.parametrize(
    "model",
    [
        "claude-opus-4-7", "claude-opus-4-8", "claude-opus-5", "claude-sonnet-5-5", "claude-haiku-5-5@x",
        "claude-fable-5",
        "claude-fable-5-2", "claude-mythos-5-1", "claude-mythos-preview", "claude-sonnet-10-1",
    ],
)  # fmt: skip
def test_a_model_on_anthropics_api_that_takes_no_temperature(model: str) -> None:
    assert not takes_sampling(model)


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
        ("claude-sonnet-4-5", set(ALL_EFFORTS) - {"none"}),
        ("claude-3-5-haiku-latest", set(ALL_EFFORTS)),
        ("smollm2", set(ALL_EFFORTS)),
    ],
)
def test_the_efforts_that_a_model_lacks(model: str, lacking: set[str]) -> None:
    assert ALL_EFFORTS - efforts(model) == lacking
