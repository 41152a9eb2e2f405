"""A workflow on the caller's side: its arguments, and the mistakes that it finds without a server."""

from __future__ import annotations

import copy
import math
import pickle
import re
from importlib import import_module

import pytest
from google.protobuf.json_format import MessageToDict

from headwater._workflow.definition import step_message
from headwater.exceptions import ValidationError
from headwater.workflow import RetryPolicy, Step, Workflow, WorkflowAgent


def steps(**depends_on: str | list[str]) -> Workflow:
    """A workflow of actions that depend on each other."""
    workflow = Workflow("w")
    for name, names in depends_on.items():
        workflow.add_step(name, action="Do it", depends_on=names)
    return workflow


def test_a_step_has_what_was_given_and_the_defaults_of_the_contract():
    workflow = Workflow("w", "What for", id="w-1", schedule_timeout=5)
    step = workflow.add_step("a", "Do it", metadata={"k": [1, 2.0]})
    assert step == Step(name="a", action="Do it", metadata={"k": [1, 2.0]})
    assert (step.max_retries, step.timeout, step.parallel, step.depends_on) == (3, None, True, ())
    assert (workflow.name, workflow.description, workflow.id, workflow.schedule_timeout) == ("w", "What for", "w-1", 5)
    assert workflow.get_step("a") is step
    assert workflow.get_step("b") is None
    assert workflow.steps == [step]


def test_one_dependency_may_be_written_as_a_str():
    assert steps(a=[], b="a").get_step("b").depends_on == ("a",)


def test_a_workflow_without_an_id_has_its_name_as_one():
    assert Workflow("w").id == "w"


def test_a_good_workflow_has_no_violations():
    assert steps(a=[], b=["a"], c=["a"], d=["b", "c"]).validate() == []


def test_metadata_is_kept_as_it_was():
    metadata = {"k": [1]}
    step = Workflow("w").add_step("a", "Do it", metadata=metadata)
    metadata["k"].append(2)
    assert step.metadata == {"k": [1]}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"name": 1}, "name: must be a str, not int"),
        ({"action": 1}, "action: must be a str, not int"),
        ({"handler": print}, "handler: must be a str"),
        ({"depends_on": 1}, "depends_on: must be a list of names"),
        ({"depends_on": [1]}, "depends_on[0]: must be a str"),
        ({"depends_on": {"a": 1}}, "depends_on: must be a list of names"),
        ({"condition": True}, "condition: must be a str"),
        ({"timeout": 0}, "timeout: must be above 0 seconds"),
        ({"timeout": "1"}, "timeout: must be a number"),
        ({"timeout": 31_536_001}, "timeout: must be at most 31,536,000 seconds"),
        ({"max_retries": -1}, "max_retries: must be 0 to 100"),
        ({"max_retries": 101}, "max_retries: must be 0 to 100"),
        ({"max_retries": True}, "max_retries: must be an int"),
        ({"retry_policy": 3}, "retry_policy: must be a RetryPolicy"),
        ({"retry_policy": RetryPolicy(), "max_retries": 1}, "max_retries: has no place beside retry_policy="),
        ({"parallel": 1}, "parallel: must be True or False"),
        ({"metadata": [1]}, "metadata: must be a dict"),
        ({"metadata": {"k": {1j}}}, 'an item of metadata["k"] is a value of type complex, which does not convert'),
        ({"metadata": {1: 1}}, "metadata has the key 1"),
        ({"description": "\ud800"}, "description: has half of a surrogate pair"),
    ],
)
def test_an_argument_of_the_wrong_type_is_refused_at_once(arguments, says):
    workflow = Workflow("w")
    with pytest.raises(ValidationError) as caught:
        workflow.add_step(**({"name": "a"} | arguments))
    assert says in str(caught.value)
    assert workflow.steps == []


@pytest.mark.parametrize(
    ("workflow", "says"),
    [
        (Workflow("w"), "workflow.steps: must be 1 to 2,000 steps, not 0; use add_step"),
        (steps(a=["b"]), "workflow.steps[0].depends_on[0]: no step is called `b`"),
        (steps(fetch=[], b=["fetsh"]), "workflow.steps[1].depends_on[0]: no step is called `fetsh`; did you mean `fetch`?"),
        (steps(a=["a"]), "workflow.steps[0].depends_on[0]: step `a` depends on itself"),
        (steps(a=[], b=["a", "a"]), "workflow.steps[1].depends_on[1]: names `a` twice"),
        (steps(a=["c"], b=["a"], c=["b"]), "workflow.steps: depend on each other in a cycle: a -> c -> b -> a"),
        (steps(a=[], b=["a", "c"], c=["b"]), "workflow.steps: depend on each other in a cycle: b -> c -> b"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_path(workflow, says):
    assert workflow.validate() == [says]


def test_a_step_without_action_and_handler_is_a_mistake():
    workflow = Workflow("w")
    workflow.add_step("a")
    assert workflow.validate() == ["workflow.steps[0]: step `a` has neither action nor handler; give it one"]


def test_two_steps_of_one_name_are_a_mistake():
    workflow = Workflow("w")
    workflow.add_step("a", "Do it")
    workflow.add_step("a", "Do it again")
    assert workflow.validate() == ["workflow.steps[1].name: `a` is the name of step 0 too; rename one"]


@pytest.mark.parametrize("name", ["", "n" * 257])
def test_a_name_is_1_to_256_characters(name):
    workflow = Workflow(name)
    workflow.add_step(name, "Do it")
    assert [line.partition(":")[0] for line in workflow.validate()] == ["workflow.name", "workflow.steps[0].name"]


def test_every_mistake_is_named_at_once():
    workflow = Workflow("")
    workflow.add_step("a", "Do it", depends_on=["b"])
    workflow.add_step("b", "Do it", depends_on=["a", "x"])
    workflow.add_step("a")
    assert len(workflow.validate()) == 5


def test_a_chain_of_2000_steps_is_no_cycle_and_no_recursion():
    workflow = Workflow("w")
    for number in range(2000):
        workflow.add_step(str(number), "Do it", depends_on=[str(number + 1)] if number < 1999 else [])
    assert workflow.validate() == []
    workflow.add_step("one more", "Do it")
    assert "not 2,001" in workflow.validate()[0]


def test_a_workflow_of_an_agent_knows_its_handlers():
    agent = WorkflowAgent()
    workflow = agent.create_workflow("w")
    workflow.add_step("a", handler="add")
    workflow.add_step("b", handler="elsewhere", queue="fleet")
    (mistake,) = workflow.validate()
    assert mistake.startswith("workflow.steps[0].handler: no handler is registered as `add` (none is registered)")
    agent.register_handler("add", lambda agent, step, context: 1)
    assert workflow.validate() == []


def test_a_copy_of_a_workflow_is_a_workflow_of_its_own():
    agent = WorkflowAgent()
    agent.register_handler("max", max)
    workflow = agent.create_workflow("w")
    workflow.add_step("a", handler="max")
    for twin in (copy.deepcopy(workflow), pickle.loads(pickle.dumps(workflow))):  # noqa: S301
        twin.add_step("b", handler="other")
        assert len(twin.validate()) == 1
    assert workflow.validate() == []


def test_a_workflow_without_an_agent_leaves_its_handlers_to_the_server():
    workflow = Workflow("w")
    workflow.add_step("a", handler="add")
    assert workflow.validate() == []


class Callable3:
    def __call__(self, agent, step, context):
        return 1


@pytest.mark.parametrize("handler", [lambda a, s, c: 1, lambda *a: 1, lambda a, s, c, d=1: 1, Callable3(), max])
def test_what_takes_three_arguments_is_a_handler(handler):
    WorkflowAgent().register_handler("h", handler)


@pytest.mark.parametrize(
    ("name", "handler", "says"),
    [
        ("h", "print", "handler: must be a function of (agent, step, context), not str"),
        ("h", lambda context: 1, "handler: must take three arguments (agent, step, context): too many"),
        ("h", lambda a, s, c, d: 1, "handler: must take three arguments (agent, step, context): missing"),
        ("", lambda a, s, c: 1, "name: must be 1 to 256 characters"),
        ("headwater.action", lambda a, s, c: 1, "name: must be 1 to 256 characters, and not headwater.action"),
        (None, lambda a, s, c: 1, "name: must be a str"),
    ],
)
def test_what_is_no_handler_is_refused(name, handler, says):
    with pytest.raises(ValidationError) as caught:
        WorkflowAgent().register_handler(name, handler)
    assert says in str(caught.value)


@pytest.mark.parametrize("path", ["headwater.agents", "headwater.agents.workflow", "headwater.core.workflow"])
def test_the_names_are_found_under_the_other_paths_too(path):
    assert import_module(path).WorkflowAgent is WorkflowAgent


@pytest.mark.parametrize("field", ["action", "handler", "condition", "queue"])
@pytest.mark.parametrize("value", [0, False, []])
def test_what_is_false_is_not_taken_for_nothing(field, value):
    with pytest.raises(ValidationError, match=f"{field}: must be a str, not {type(value).__name__}"):
        Workflow("w").add_step("a", **{"action": "Do it", field: value})


def test_only_a_workflow_and_a_run_are_drawn():
    agent = WorkflowAgent()
    with pytest.raises(ValidationError, match="workflow: must be a Workflow, not str"):
        agent.visualize_workflow("w")
    with pytest.raises(ValidationError, match="run: must be a WorkflowResult or the id of a run, not int"):
        agent.visualize_workflow(steps(a=[]), 5)


def test_what_cannot_be_called_is_no_callback():
    with pytest.raises(ValidationError, match="callback: must be a function of one event, not int"):
        WorkflowAgent().stream_workflow_progress("run", callback=5)


def test_an_agent_shows_its_own_class():
    assert repr(WorkflowAgent(name="a")) == "WorkflowAgent(name='a', model=None, provider=None)"


def test_how_often_and_when_a_failed_attempt_is_repeated():
    workflow = Workflow("w")
    assert workflow.add_step("a", "Do it").retry_policy == RetryPolicy(0.2, 2.0, None, 4)
    once = workflow.add_step("b", "Do it", max_retries=0)
    assert (once.retry_policy.max_attempts, once.max_retries) == (1, 0)
    step = workflow.add_step("c", "Do it", parallel=False, timeout=1.5, retry_policy=RetryPolicy(1, 3, 9.5, 7))
    assert step.max_retries == 6
    message = step_message(step)
    assert MessageToDict(message.retry_policy) == {
        "initialDelay": "1s", "backoff": 3.0, "maxDelay": "9.500s", "maxAttempts": 7,
    }  # fmt: skip
    assert (message.exclusive, message.timeout.ToMilliseconds()) == (True, 1500)
    assert not step_message(once).exclusive


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"initial_delay": -1}, "initial_delay: must be 0 to 86,400 seconds"),
        ({"initial_delay": "1s"}, "initial_delay: must be a number"),
        ({"backoff": 0.5}, "backoff: must be 1 to 100"),
        ({"backoff": math.inf}, "backoff: must be a finite number"),
        ({"max_delay": 86_401}, "max_delay: must be 0 to 86,400 seconds"),
        ({"initial_delay": 2, "max_delay": 1}, "max_delay: must be at least initial_delay, 2 seconds"),
        ({"max_attempts": 0}, "max_attempts: must be 1 to 101"),
        ({"max_attempts": 2.5}, "max_attempts: must be an int"),
    ],
)
def test_a_bad_retry_policy_is_refused_at_once(arguments, says):
    with pytest.raises(ValidationError, match=re.escape(says)):
        RetryPolicy(**arguments)
