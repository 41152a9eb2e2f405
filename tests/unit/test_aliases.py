"""Names for several models in the configuration: their meaning, how they are shown, and which are mistakes."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest

from headwater_server.cli import render
from headwater_server.config import Config, ConfigError, load
from headwater_server.config.providers import build_providers, default_answer
from headwater_server.providers.http.client import HttpClient
from headwater_server.providers.registry import ProviderRegistry

ENVIRONMENT = {"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k", "OLLAMA_HOST": "gpu-box"}

TWO = """
[models.smart]
targets = ["anthropic/claude-sonnet-4-6", "gpt-4o"]

[models."gpt-4o"]
targets = ["gpt-4o", "ollama/llama3.2"]
weights = [3, 1]
"""


def loaded(folder: Path, text: str) -> Config:
    file = folder / "headwater.toml"
    file.write_text(text)
    return load(file, ENVIRONMENT)


async def registry(config: Config) -> ProviderRegistry:
    async with HttpClient("test") as client:
        return build_providers(config, lambda: client)


def named(providers: ProviderRegistry, model: str, provider: str = "") -> tuple[list[str], Sequence[float]]:
    routes, weights = providers.routes(model, provider)
    return [f"{route.provider.name}/{route.model}" for route in routes], weights


async def test_an_alias_stands_for_its_models_also_by_the_name_of_one(tmp_path):
    providers = await registry(loaded(tmp_path, TWO))
    assert named(providers, "smart") == (["anthropic/claude-sonnet-4-6", "openai/gpt-4o"], ())
    assert named(providers, "gpt-4o") == (["openai/gpt-4o", "ollama/llama3.2"], (3, 1))
    assert named(providers, "gpt-4o", "openai") == (["openai/gpt-4o"], ())
    assert named(providers, "openai/gpt-4o") == (["openai/gpt-4o"], ())
    route = providers.resolve("smart", "")
    assert (route.provider.name, route.model) == ("anthropic", "claude-sonnet-4-6")


async def test_the_default_model_may_be_an_alias(tmp_path):
    config = loaded(tmp_path, '[server]\ndefault_model = "smart"\n' + TWO)
    assert named(await registry(config), "")[0] == ["anthropic/claude-sonnet-4-6", "openai/gpt-4o"]
    assert await default_answer(config) == "anthropic/claude-sonnet-4-6"


def test_aliases_are_shown_and_handed_to_other_processes(tmp_path):
    config = loaded(tmp_path, TWO)
    tree = tomllib.loads(render(config))["models"]
    assert tree["smart"] == {"targets": ["anthropic/claude-sonnet-4-6", "gpt-4o"], "weights": []}
    assert tree["gpt-4o"]["weights"] == [3, 1]
    assert f"models.smart.targets in {tmp_path}/headwater.toml" in render(config)
    assert Config.from_json(json.loads(json.dumps(config.to_json())), ENVIRONMENT) == config


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[models.a]\ntargets = []\n", "models.a.targets"),
        ("[models.a]\nweights = [1]\n", "models.a.targets: is missing"),
        ('[models.a]\ntargets = "gpt-4o"\n', "models.a.targets in"),
        ('[models.a]\ntargets = ["x", "y"]\nweights = [1]\n', "must have one number for each of the targets"),
        ('[models.a]\ntargets = ["x"]\nweights = [0]\n', "greater than 0"),
        ('[models.a]\ntargest = ["x"]\ntargets = ["x"]\n', "did you mean models.a.targets?"),
        ('[models."a/b"]\ntargets = ["x"]\n', "models.a/b: a name for models has 1 to 64"),
        ("[models]\na = 1\n", "models.a"),
    ],
)
def test_a_mistake_in_an_alias_is_named(tmp_path, text, words):
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text)
    assert any(words in line for line in caught.value.mistakes), caught.value.mistakes


async def test_a_target_that_nobody_has_is_a_mistake_before_a_caller_meets_it(tmp_path):
    config = loaded(tmp_path, '[models.a]\ntargets = ["gpt-4o", "nowhere"]\n')
    with pytest.raises(ConfigError) as caught:
        await registry(config)
    [line] = caught.value.mistakes
    assert line.startswith(f"models.a.targets in {tmp_path}/headwater.toml: no provider here is known to have")


@pytest.mark.parametrize("target", ["a", "b"])
async def test_a_target_that_is_an_alias_is_named_as_such(tmp_path, target):
    config = loaded(tmp_path, f'[models.a]\ntargets = ["{target}"]\n[models.b]\ntargets = ["gpt-4o"]\n')
    with pytest.raises(ConfigError) as caught:
        await registry(config)
    words = f'"{target}" is an alias, and targets are models; name its models instead'
    assert caught.value.mistakes == [f"models.a.targets in {tmp_path}/headwater.toml: {words}"]
