"""The conditions and placeholders of steps, as the engine asks about them."""

from __future__ import annotations

import pytest

from headwater_server.domain.failure import StepError
from headwater_server.domain.messages import AgentConfig
from headwater_server.domain.workflow import Step
from headwater_server.workflows.expressions.evaluator import ASKER_SECONDS, Asker, Evaluator
from headwater_server.workflows.expressions.expressions import Expressions
from tests.support.runs.expressions import FakeHelper, fake_expressions

RESULTS = {"draft": '"A text."', "facts": '{"a": 1}'}


class NoHelper:
    """Must not be started."""

    @classmethod
    async def start(cls, seconds: float) -> FakeHelper:
        raise AssertionError("a helper was started for nothing")


async def test_a_condition_is_decided() -> None:
    expressions, step = fake_expressions(), Step("s", condition="context.n > 1")
    assert await expressions.decide(Asker(), step, {"n": "2"})
    assert not await expressions.decide(Asker(), step, {"n": "1"})
    assert await expressions.decide(Asker(), Step("s", condition="context == {'n': 1}"), {"n": "1"})
    with pytest.raises(StepError, match="the context has no key `n`"):
        await expressions.decide(Asker(), step, {})


async def test_a_prompt_is_filled_in_and_the_results_that_it_does_not_name_follow() -> None:
    agent = AgentConfig(instructions="Write for {{ who }}.", model="m")
    step = Step("s", action="Improve {{ steps.draft.result }}", depends_on=("draft", "facts"), agent=agent)
    filled = await fake_expressions().fill(Asker(), step, {"who": '"Ann"'}, RESULTS)
    assert filled.action == 'Improve A text.\n\n{"facts": {"a": 1}}'
    assert filled.agent == AgentConfig(instructions="Write for Ann.", model="m")


async def test_a_result_that_only_the_instructions_name_does_not_follow() -> None:
    agent = AgentConfig(instructions="About {{ steps.draft.result }} {{ steps.facts.result.a }}")
    step = Step("s", action="Go.", depends_on=("draft", "facts"), agent=agent)
    assert (await fake_expressions().fill(Asker(), step, {}, RESULTS)).action == "Go."


async def test_a_workflow_without_expressions_starts_no_helper() -> None:
    expressions = Expressions(Evaluator(NoHelper.start))
    step = Step("s", action="Say {this}.")
    assert await expressions.mistakes([step]) == {}
    assert (await expressions.fill(Asker(), step, {}, {"a": "1"})).action == 'Say {this}.\n\n{"a": 1}'


async def test_mistakes_are_found_by_step_and_field() -> None:
    steps = (
        Step("a", action="x", condition="1 +"),
        Step("b", action="{{ a b }}", agent=AgentConfig(instructions="{{ }}")),
        Step("c", action="{{ }}", handler="h"),  # the action of a handler is only a label
    )
    found = await fake_expressions().mistakes(steps)
    assert {position: [field for field, _ in mistakes] for position, mistakes in found.items()} == {
        0: ["condition"],
        1: ["action", "agent.instructions"],
    }


async def test_an_asker_that_has_spent_its_computing_time_gets_no_more() -> None:
    asker = Asker(spent=ASKER_SECONDS)
    with pytest.raises(StepError, match=r"the condition of step `s`, `true`, was not evaluated: .* 20 s") as caught:
        await fake_expressions().decide(asker, Step("s", condition="true"), {})
    assert caught.value.failure.non_retryable
