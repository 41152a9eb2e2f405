"""The models that a caller may ask, however it names them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from headwater_server.attempts.allowed import Allowed
from headwater_server.attempts.request import ParsedRequest
from headwater_server.attempts.target import Target, Targets
from headwater_server.callers.limits import CallerLimits
from headwater_server.config import load
from headwater_server.config.reloading import build_offer
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.messages import AgentConfig
from headwater_server.providers.registry import ProviderRegistry

FILE = """
[server]
default_model = "claude-sonnet-4-6"
[providers.openai]
base_url = "http://127.0.0.1:9"
[providers.anthropic]
base_url = "http://127.0.0.1:9"
[providers.vllm]
type = "openai"
base_url = "http://127.0.0.1:9"
models = ["Qwen/Qwen3"]
[models.smart]
targets = ["anthropic/claude-sonnet-4-6", "openai/gpt-4o"]
[models.drawn]
targets = ["anthropic/claude-sonnet-4-6", "openai/gpt-4o", "vllm/openai/gpt-4o"]
weights = [1, 2, 3]
"""


@pytest.fixture(scope="module")
def providers(tmp_path_factory: pytest.TempPathFactory) -> ProviderRegistry:
    file = tmp_path_factory.mktemp("settings") / "headwater.toml"
    file.write_text(FILE)
    return build_offer(load(file, {}), "test").providers


def targets(
    providers: ProviderRegistry, limits: CallerLimits, model: str, *fallbacks: str, provider: str = "", **options: Any
) -> list[Target]:
    from headwater_server.streaming.answerer import Timeouts

    agent = AgentConfig(model=model, provider=provider, fallback_models=fallbacks, provider_options=options)
    made = Targets(providers, Timeouts(), lambda: 0.0, allowed=Allowed("alice", limits, providers))
    return made.of(ParsedRequest(agent, ()))


def asked(found: Sequence[Target]) -> list[str]:
    return [f"{target.route.provider.name}/{target.route.model}" for target in found]


@pytest.mark.parametrize(
    ("patterns", "allowed", "forbidden"),
    [
        (["gpt-4o"], [("openai", "gpt-4o"), ("vllm", "gpt-4o")], [("openai", "gpt-4o-mini"), ("openai", "GPT-4o")]),
        (["gpt-*"], [("openai", "gpt-5")], [("openai", "o3"), ("vllm", "openai/gpt-4o")]),
        (["openai/*"], [("openai", "o3")], [("vllm", "openai/gpt-4o"), ("anthropic", "claude")]),
        (["*/gpt-4o"], [("openai", "gpt-4o"), ("vllm", "openai/gpt-4o")], [("openai", "gpt-4o-mini")]),
        (["Qwen/*"], [("vllm", "Qwen/Qwen3")], [("vllm", "gpt-4o")]),
        (
            ["smart"],
            [("anthropic", "claude-sonnet-4-6"), ("openai", "gpt-4o")],
            [("openai", "smart"), ("openai", "o3")],
        ),
        (["*"], [("openai", "anything")], []),
        (["[a-z]*", "?"], [("openai", "[a-z]"), ("openai", "x")], [("openai", "gpt-4o")]),
    ],
)
def test_a_pattern_allows_models_by_the_providers_name_for_them(providers, patterns, allowed, forbidden):
    rules = Allowed("alice", CallerLimits(models=tuple(patterns)), providers)
    assert all(rules.allows(*model) for model in allowed)
    assert not any(rules.allows(*model) for model in forbidden)


def test_providers_go_with_models(providers):
    rules = Allowed("alice", CallerLimits(models=("gpt-4o",), providers=("openai",)), providers)
    assert rules.allows("openai", "gpt-4o")
    assert not rules.allows("vllm", "gpt-4o")


@pytest.mark.parametrize(
    "request_", [("claude-sonnet-4-6",), ("",), ("anthropic/claude-opus-4-6",), ("smart", "claude-x")]
)
def test_a_forbidden_model_is_refused_also_as_the_default_and_as_a_fallback(providers, request_):
    with pytest.raises(HeadwaterError) as caught:
        targets(providers, CallerLimits(models=("gpt-*",), providers=("openai",)), *request_)
    assert caught.value.reason is Reason.CALLER_FORBIDDEN
    assert caught.value.message.startswith("alice may not ask anthropic/claude-")
    assert caught.value.message.endswith(" here; allowed: models gpt-*; providers openai")
    assert caught.value.metadata["allowed"] == "models gpt-*; providers openai"


def test_an_alias_gives_those_of_its_models_that_are_allowed(providers):
    only = CallerLimits(models=("gpt-*",))
    assert asked(targets(providers, only, "smart")) == ["openai/gpt-4o"]
    assert asked(targets(providers, CallerLimits(providers=("anthropic", "vllm")), "drawn")) == [
        "anthropic/claude-sonnet-4-6",
        "vllm/openai/gpt-4o",
    ]
    assert asked(targets(providers, only, "gpt-5", "smart")) == ["openai/gpt-5", "openai/gpt-4o"]


@pytest.mark.parametrize(
    "options",
    [
        {"model": "o3-pro"},
        {"models": ["anthropic/claude-opus"]},
        {"tools": [{"type": "image_generation", "model": "gpt-image-1"}]},
        {"extra": {"fallbacks": ["x"]}},
    ],
)
def test_fields_of_a_provider_choose_no_other_model(providers, options):
    assert asked(targets(providers, CallerLimits(), "gpt-4o", openai=options)) == ["openai/gpt-4o"]
    with pytest.raises(HeadwaterError, match="may choose another model") as caught:
        targets(providers, CallerLimits(models=("gpt-4o",)), "gpt-4o", openai=options)
    assert caught.value.reason is Reason.INVALID_REQUEST
    assert caught.value.violations[0].field.startswith("provider_options.openai.")
