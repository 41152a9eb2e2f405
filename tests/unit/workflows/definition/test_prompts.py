"""Placeholders in a prompt are filled in from the context and the results of dependencies."""

from __future__ import annotations

import pytest

from headwater_server.domain.failure import StepError
from headwater_server.domain.messages import AgentConfig
from headwater_server.domain.workflow import Step, Workflow
from headwater_server.workflows.definition import graph
from headwater_server.workflows.definition.prompts import fill

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


def filled(action: str) -> str:
    return fill(Step("s", action=action, depends_on=tuple(RESULTS)), CONTEXT, RESULTS).action.partition("\n\n")[0]


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


def test_the_results_that_the_prompt_does_not_name_follow_as_json() -> None:
    step = Step("s", action="Improve {{ steps.draft.result }}", depends_on=("draft", "facts"))
    assert (
        fill(step, CONTEXT, {"draft": '"A text."', "facts": '{"a": 1}'}).action
        == 'Improve A text.\n\n{"facts": {"a": 1}}'
    )
    assert fill(Step("s", action="x"), CONTEXT, {}).action == "x"


def test_instructions_of_the_step_name_values_too() -> None:
    agent = AgentConfig(instructions="Write for {{ who.name }}: {{ steps.draft.result }}", model="m")
    step = fill(Step("s", action="Go.", depends_on=("draft",), agent=agent), CONTEXT, {"draft": '"A text."'})
    assert step.agent == AgentConfig(instructions="Write for Ann: A text.", model="m")
    assert step.action == "Go."  # the result is named, and not added


def test_a_mistake_in_instructions_is_found_before_the_run() -> None:
    step = Step("s", action="Go.", agent=AgentConfig(instructions="For {{ a b }}"))
    [mistake] = graph.violations(Workflow("w", (step,)), "")
    assert mistake.field == "workflow.steps[0].agent.instructions"
    assert "not CEL" in mistake.description


def test_a_value_of_any_size_goes_into_a_prompt() -> None:
    assert len(fill(Step("s", action="{{ big }}"), {"big": f'"{"x" * 900_000}"'}, {}).action) == 900_000


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
    [mistake] = graph.violations(Workflow("w", (Step("s", action=action),)), "")
    assert mistake.field == "workflow.steps[0].action"
    assert text in mistake.description


def test_the_action_of_a_handler_is_only_a_label() -> None:
    assert graph.violations(Workflow("w", (Step("s", action="{{ }}", handler="h"),)), "q") == []
