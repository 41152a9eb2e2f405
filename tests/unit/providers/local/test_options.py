"""Requests that the provider `local` refuses before it starts its model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headwater_server.domain.errors import FieldViolation, HeadwaterError
from headwater_server.domain.messages import Message, Role, ToolResult
from headwater_server.providers.local.options import OPTIONS
from headwater_server.providers.local.provider import LocalProvider
from headwater_server.providers.local.settings import LocalSettings
from tests.unit.providers.conversations import PIXEL, ask, tool_results, user

DOCS = Path(__file__).parents[4] / "docs" / "configuration.md"


def refused(tmp_path: Path, *messages: Message, **options: Any) -> list[FieldViolation]:
    provider = LocalProvider("local", lambda url, key: pytest.fail("it connects"), LocalSettings(), directory=tmp_path)
    request = ask(*messages, model=provider.default_model, provider_options=options)
    with pytest.raises(HeadwaterError) as caught:
        provider.stream(request)
    return list(caught.value.violations)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("temprature", "temperature"),
        ("repeat_penalti", "repeat_penalty"),
        ("Top_K", "top_k"),
        ("max_token", "max_tokens"),
        ("num_predict", "n_predict"),
        ("ignore-eos", "ignore_eos"),
    ],
)
def test_an_unknown_option_is_refused_with_the_nearest(tmp_path: Path, name: str, meant: str) -> None:
    assert refused(tmp_path, **{name: 1}) == [
        FieldViolation(f"provider_options.local.{name}", f"is no option of llama.cpp; did you mean {meant}?")
    ]


def test_all_unknown_options_are_named_at_once_and_far_ones_say_where_to_look(tmp_path: Path) -> None:
    first, second = refused(tmp_path, xyzzy=1, messages=[])
    assert first.description == "is no option of llama.cpp; docs/configuration.md says which there are"
    assert second.field == "provider_options.local.messages"


def test_the_documentation_has_all_options() -> None:
    text = DOCS.read_text("utf-8")
    assert {name for name in OPTIONS if f"`{name}`" not in text} == set()


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (user("see", PIXEL), "messages[0].parts[1].image"),
        (tool_results(ToolResult("c", "f", "", parts=(PIXEL,))), "messages[0].parts[0].tool_result.parts[0].image"),
    ],
)
def test_an_image_is_refused_by_its_field(tmp_path: Path, message: Message, field: str) -> None:
    assert message.role in (Role.USER, Role.TOOL)
    [violation] = refused(tmp_path, message)
    assert violation.field == field
    assert "reads text only" in violation.description
