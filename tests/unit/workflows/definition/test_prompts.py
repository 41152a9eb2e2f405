"""Placeholders in a prompt are filled in from the context and the results of dependencies."""

from __future__ import annotations

import pytest

from headwater_server.domain.failure import StepError
from headwater_server.workflows.definition.prompts import fill, keys, mistakes, results_named, with_results

CONTEXT = {
    "topic": '"rivers"',
    "count": "3",
    "exact": "3.0",
    "who": '{"name": "Ann"}',
    "type": '"long"',
    "list": "[1, 2]",
    "my key": '"K"',
    "größe": '{"länge": 4}',
    "in": "1",
}
RESULTS = {"draft": '"A text."', "facts": '{"a": 1}', "read-aloud Ω": '"Hm"', "übersicht": '"Ü"'}


VALUES = {**CONTEXT, **{f"steps.{name}.result": text for name, text in RESULTS.items()}}


def filled(text: str, values: dict[str, str] = VALUES) -> str:
    read = keys([text])
    return fill([text], {key: text for key, text in values.items() if read is None or key in read})[0]


@pytest.mark.parametrize(
    ("action", "prompt"),
    [
        ("About {{ context.topic }}.", "About rivers."),
        ("About {{topic}}, {{ count }} times.", "About rivers, 3 times."),
        ("{{ exact }} {{ who }} {{ who.name }}", '3.0 {"name": "Ann"} Ann'),
        ("{{ type }} {{ list }}", "long [1, 2]"),
        ("{{ steps.draft.result }} {{ steps.facts.result.a }}", "A text. 1"),
        ("{{ size(topic) + count }}", "9"),
        ("{{ steps[\"read-aloud Ω\"].result }} {{ steps['facts'].result.a + 1 }}", "Hm 2"),
        ("{{ size(steps['read-aloud Ω'].result) }} {{ context['my key'] }}", "2 K"),
        ("{{ 'steps.draft.result' }} {{ '{{' }}", "steps.draft.result {{"),
        ("{{ größe }} {{größe.länge}} {{ context.größe.länge + 1 }} {{ in }}", '{"länge": 4} 4 5 1'),
        ("{{ steps.übersicht.result }} {{ 'größe' }}", "Ü größe"),
        ("{{ count > 2 ? 'many' : 'few' }}", "many"),
        ("{{ context.list.exists(x, x > 1) }}", "true"),
        ("{topic} {context.topic} { {topic} } stay", "{topic} {context.topic} { {topic} } stay"),
    ],
)
def test_a_placeholder_is_filled_in(action: str, prompt: str) -> None:
    assert filled(action) == prompt


def test_the_steps_whose_results_a_prompt_names_are_known() -> None:
    assert results_named(
        ["Improve {{ steps.draft.result }}", "{{ size(steps['read aloud'].result) }} {{ topic }}"]
    ) == [
        "draft",
        "read aloud",
    ]


def test_the_results_that_the_prompt_does_not_name_follow_as_json() -> None:
    assert with_results("Improve.", {"facts": '{"a": 1}', "ü": '"x"'}) == 'Improve.\n\n{"facts": {"a": 1}, "ü": "x"}'
    assert with_results("x", {}) == "x"


def test_a_value_of_any_size_goes_into_a_prompt() -> None:
    assert len(filled("{{ big }}", {"big": f'"{"x" * 900_000}"'})) == 900_000


def test_a_prompt_does_not_grow_without_end() -> None:
    with pytest.raises(StepError, match="more than 3,145,728 characters are filled in") as caught:
        filled("{{ big }}" * 4, {"big": f'"{"x" * 900_000}"'})
    assert caught.value.failure.non_retryable


@pytest.mark.parametrize("action", ["{{ nothing }}", "{{ context.nothing }}", "{{ size(nothing) }}"])
def test_a_missing_value_fails_the_step_and_is_named(action: str) -> None:
    with pytest.raises(StepError, match="`nothing`") as caught:
        filled(action)
    assert caught.value.failure.non_retryable


@pytest.mark.parametrize(
    ("action", "text"),
    [
        ("{{ }}", "empty placeholder"),
        ("{{ a b }}", "not CEL"),
        ('{{"a": 1}}', 'write {{ "{{" }} for double braces'),
        ("{{ steps.other.result }}", "add `other`"),
        ("{{ steps['the other'].result }}", "add `the other`"),
        ("{{ steps.größe.result }}", "add `größe`"),
        ("{{ steps.größe }}", "{{ steps.NAME.result }}"),
        ("{{ steps.draft }}", "{{ steps.NAME.result }}"),
        ("{{ steps.draft.output }}", "{{ steps.NAME.result }}"),
    ],
)
def test_a_mistake_in_a_placeholder_is_found_before_the_run(action: str, text: str) -> None:
    [mistake] = mistakes(action, ())
    assert text in mistake


def test_a_text_has_few_placeholders() -> None:
    [mistake] = mistakes("{{ a }}" * 1_001, ())
    assert mistake == "has 1,001 placeholders, at most 1,000 are allowed; let the step before work it out"
