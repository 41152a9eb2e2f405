"""Prices in the configuration: their meaning, how they are shown, and which are mistakes."""

from __future__ import annotations

import json
import tomllib
from decimal import Decimal
from pathlib import Path

import pytest

from headwater_server.cli import render
from headwater_server.config import Config, ConfigError, load
from headwater_server.config.providers import build_prices
from headwater_server.domain.costs.prices import Price

TWO = """
[prices."openai/gpt-4o-mini"]
input = 0.15
cached_input = "0.075"
output = 0.6

[prices."anthropic/*"]
input = 3
output = 15
"""


def loaded(folder: Path, text: str) -> Config:
    file = folder / "headwater.toml"
    file.write_text(text)
    return load(file, {})


def test_prices_are_the_decimal_numbers_that_are_written(tmp_path):
    table = build_prices(loaded(tmp_path, TWO))
    assert table.of("openai", "gpt-4o-mini") == Price(Decimal("0.15"), Decimal("0.6"), Decimal("0.075"))
    assert table.of("anthropic", "claude-x") == Price(Decimal(3), Decimal(15))
    assert table.of("openai", "gpt-4o") is None


def test_prices_are_shown_and_handed_to_other_processes(tmp_path):
    config = loaded(tmp_path, TWO)
    shown = render(config)
    assert tomllib.loads(shown)["prices"]["openai/gpt-4o-mini"] == {
        "input": "0.15", "output": "0.6", "cached_input": "0.075",
    }  # fmt: skip
    assert f"prices.openai/gpt-4o-mini.input in {tmp_path}/headwater.toml" in shown
    assert Config.from_json(json.loads(json.dumps(config.to_json())), {}) == config


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[prices."openai/x"]\ninput = -1\noutput = 1\n', "prices.openai/x.input"),
        ('[prices."openai/x"]\ninput = nan\noutput = 1\n', "prices.openai/x.input"),
        ('[prices."openai/x"]\ninput = 1e9\noutput = 1\n', "less than or equal to 1000000"),
        ('[prices."openai/x"]\ninput = 0.00000000001\noutput = 1\n', "decimal places"),
        ('[prices."openai/x"]\ninput = "two"\noutput = 1\n', "prices.openai/x.input"),
        ('[prices."openai/x"]\ninput = 1\n', "prices.openai/x.output: is missing"),
        ('[prices."openai/x"]\ninput = 1\noutput = 1\noutputs = 1\n', "did you mean prices.openai/x.output?"),
        ('[prices."gpt-4o"]\ninput = 1\noutput = 1\n', "prices.gpt-4o: a name for prices is PROVIDER/MODEL"),
        ('[prices."openai/a*b"]\ninput = 1\noutput = 1\n', "a name for prices is PROVIDER/MODEL"),
        ("[prices]\na = 1\n", "prices.a"),
    ],
)
def test_a_mistake_in_a_price_is_named(tmp_path, text, words):
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text)
    assert any(words in line for line in caught.value.mistakes), caught.value.mistakes


def test_a_price_of_a_provider_that_is_not_there_is_a_mistake(tmp_path):
    config = loaded(tmp_path, '[prices."opnai/x"]\ninput = 1\noutput = 1\n')
    with pytest.raises(ConfigError) as caught:
        build_prices(config)
    assert caught.value.mistakes[0].startswith(
        f"prices.opnai/x.input in {tmp_path}/headwater.toml: there is no provider"
    )
