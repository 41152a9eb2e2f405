from __future__ import annotations

from typing import Any

import pytest

from headwater_server.domain.workflow import RetryPolicy, Step, Workflow
from headwater_server.workflows.definition.graph import unknown_handlers, violations


def mistakes(*steps: Step, queue: str = "q", name: str = "w") -> list[tuple[str, str]]:
    found = violations(Workflow(name, steps), queue)
    return [(violation.field, violation.description) for violation in found]


def action(name: str, *depends_on: str) -> Step:
    return Step(name, action="do", depends_on=depends_on)


def retried(**policy: Any) -> Step:
    return Step("b", action="x", retry_policy=RetryPolicy(**policy))


def test_the_mistakes_of_expressions_stand_between_those_of_their_step() -> None:
    steps = (action("a"), Step("b", depends_on=("c",), timeout_seconds=0.0))
    found = violations(Workflow("w", steps), "", {1: [("condition", "is not CEL")]})
    assert [violation.field.removeprefix("workflow.steps[1].") for violation in found] == [
        "depends_on[0]",
        "action",
        "condition",
        "timeout",
    ]


def test_a_good_workflow_has_no_mistakes() -> None:
    steps = (action("a"), Step("b", handler="h", depends_on=("a",), condition="context.x < 1", metadata='{"k": 1}'))
    assert mistakes(*steps) == []


@pytest.mark.parametrize(
    ("step", "field", "text"),
    [
        (action(""), "name", "has 0 characters, must have 1 to 256"),
        (action("n" * 257), "name", "has 257 characters, must have 1 to 256"),
        (Step("b"), "action", "the step has neither an action nor a handler; give it one"),
        (action("b", "aa"), "depends_on[0]", "there is no step `aa`; did you mean `a`?"),
        (action("b", "a", "a"), "depends_on[1]", "`a` is there twice; take one out"),
        (action("b", "b"), "depends_on[0]", "the step depends on itself; take it out"),
        (Step("b", action="x", timeout_seconds=0.0), "timeout", "is 0 s, must be above 0, at most 365 days; leave it out for no limit"),
        (Step("b", action="x", timeout_seconds=float("nan")), "timeout", "is nan s, must be above 0, at most 365 days; leave it out for no limit"),
        (Step("b", action="x", timeout_seconds=31_536_001.0), "timeout", "is 3.1536e+07 s, must be above 0, at most 365 days; leave it out for no limit"),
        (retried(max_attempts=102), "retry_policy.max_attempts", "is 102, must be 1 to 101; 1 tries the step at most once"),
        (retried(max_attempts=0), "retry_policy.max_attempts", "is 0, must be 1 to 101; 1 tries the step at most once"),
        (retried(backoff=0.5), "retry_policy.backoff", "is 0.5, must be 1 to 100"),
        (retried(backoff=float("nan")), "retry_policy.backoff", "is nan, must be 1 to 100"),
        (retried(initial_delay_seconds=-1.0), "retry_policy.initial_delay", "is -1 s, must be 0 to 1 day"),
        (retried(max_delay_seconds=86_401.0), "retry_policy.max_delay", "is 86401 s, must be 0 to 1 day"),
        (retried(initial_delay_seconds=61.0), "retry_policy.max_delay", "is 60 s, must be at least initial_delay, which is 61 s"),
        (Step("b", action="x", metadata="[]"), "metadata_json", "is JSON, but not an object; write a JSON object such as {}"),
        (Step("b", action="x", metadata='{"a": NaN}'), "metadata_json", "is not JSON: it has a number that JSON does not have: NaN; send null or a string; write a JSON object such as {}"),
        (Step("b", action="x", metadata='{"a": "\\ud800"}'), "metadata_json", "is not JSON: it has half of a surrogate pair, which is not text; write a JSON object such as {}"),
        (Step("b", action="x", metadata="[" * 100_000), "metadata_json", "is not JSON that can be kept: it is too deep, nested more than 100 levels; write a JSON object such as {}"),
    ],
)  # fmt: skip
def test_a_mistake_has_its_place_and_its_cure(step: Step, field: str, text: str) -> None:
    assert mistakes(action("a"), step) == [(f"workflow.steps[1].{field}", text)]


def test_a_handler_that_no_worker_has_ever_registered_is_no_mistake_but_said() -> None:
    steps = (action("a"), Step("b", handler="h", queue="else"), Step("c", handler="gret"), Step("d", handler="x"))
    assert mistakes(*steps) == []
    known = {"q": frozenset({"greet", "x"})}
    assert unknown_handlers(Workflow("w", steps), lambda queue: known.get(queue, frozenset()), "q") == {
        1: "no worker of queue `else` has ever registered a handler `h`, nor any other; start a worker for it",
        2: "no worker of queue `q` has ever registered a handler `gret`; there are `greet`, `x`; did you mean `greet`?",
    }


def test_the_time_for_a_worker_has_its_range() -> None:
    found = violations(Workflow("w", (action("a"),), schedule_timeout_seconds=0), "")
    assert [(violation.field, violation.description) for violation in found] == [
        ("workflow.schedule_timeout", "is 0 s, must be above 0, at most 365 days; leave it out for an hour")
    ]


def test_a_handler_needs_a_queue() -> None:
    ((field, text),) = mistakes(Step("a", handler="h"), queue="")
    assert field == "workflow.steps[0].queue"
    assert text == "handler `h` has no queue; name one, here or for the run"


def test_a_name_that_is_there_twice_is_shown_at_the_second() -> None:
    assert mistakes(action("a"), action("b"), action("a")) == [
        ("workflow.steps[2].name", "`a` is the name of steps[0] too; give each step its own")
    ]


def test_a_cycle_is_shown_with_its_whole_path_from_its_first_step() -> None:
    assert mistakes(action("start"), action("a", "start", "c"), action("b", "a"), action("c", "b")) == [
        (
            "workflow.steps[1].depends_on[1]",
            "a cycle, each step depends on the next: a -> c -> b -> a; take one dependency out",
        )
    ]


def test_cycles_apart_from_each_other_are_all_shown() -> None:
    found = mistakes(action("a", "b"), action("b", "a"), action("c", "d"), action("d", "c"))
    assert sorted(field for field, _ in found) == ["workflow.steps[0].depends_on[0]", "workflow.steps[2].depends_on[0]"]


def test_all_mistakes_come_at_once() -> None:
    found = mistakes(
        action("a", "x"), Step("b"), Step("c", handler="h", retry_policy=RetryPolicy(max_attempts=0)), name=""
    )
    assert [field for field, _ in found] == [
        "workflow.name",
        "workflow.steps[0].depends_on[0]",
        "workflow.steps[1].action",
        "workflow.steps[2].retry_policy.max_attempts",
    ]


def test_a_workflow_needs_a_step() -> None:
    assert mistakes() == [("workflow.steps", "there are none; add one with an action or a handler")]


def test_two_thousand_steps_are_allowed_and_no_more() -> None:
    steps = [action(f"s{number}") for number in range(2_001)]
    assert mistakes(*steps[:2_000]) == []
    assert mistakes(*steps) == [("workflow.steps", "there are 2,001, at most 2,000 are allowed; split the workflow")]


def test_the_names_that_a_queue_has_are_sorted_once_for_all_steps() -> None:
    class Name(str):
        __slots__ = ()
        compared = 0

        def __lt__(self, other: str) -> bool:
            Name.compared += 1
            return str(self) < str(other)

    known = frozenset(Name(f"h{number}") for number in range(1_000))
    steps = tuple(Step(f"s{number}", handler="unknown") for number in range(500))
    assert len(unknown_handlers(Workflow("w", steps), lambda _: known, "q")) == 100
    assert Name.compared < 20_000  # once takes about 9,000


def test_hints_stay_cheap_in_a_workflow_full_of_mistakes() -> None:
    found = mistakes(*(action(f"step {n} " + "ab" * 26, f"stop {n} " + "ba" * 26) for n in range(2_000)))
    assert len(found) == 1_000
    assert sum("did you mean" in text for _, text in found) == 10
