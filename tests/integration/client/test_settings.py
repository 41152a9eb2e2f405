"""The settings of an agent: misspelt ones, and a conversation that is put back."""

from __future__ import annotations

import importlib.metadata
import json
from typing import Any

import pytest

import headwater
from headwater import Agent, ValidationError, Workflow, WorkflowAgent
from tests.support.services.fake_agent_service import FakeAgentService


@pytest.mark.parametrize(
    ("name", "meant"),
    [("max_token", "max_tokens"), ("temprature", "temperature"), ("modle", "model"), ("Stops", "stop"), ("tool", "tools")],
)  # fmt: skip
def test_a_misspelt_keyword_of_a_call_is_refused_with_the_nearest_name(agent: Agent, name: str, meant: str) -> None:
    with pytest.raises(ValidationError, match=f"{name}: is not known; did you mean {meant}\\?"):
        agent.stream("?", **{name: 1})


def test_fields_of_providers_are_not_taken_for_misspelt_keywords(agent: Agent) -> None:
    agent.stream("?", top_k=1, min_p=0.1, min_tokens=1, max_new_tokens=1, max_output_tokens=1, models=["a"], think=True)


def test_a_misspelt_setting_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(TypeError, match=r"Agent\(\) has no argument 'max_token'; did you mean max_tokens\?"):
        Agent(max_token=5)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"WorkflowAgent\(\) has no argument 'temprature'; did you mean temperature\?"):
        WorkflowAgent(temprature=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="did you mean depends_on"):
        Workflow("w").add_step("a", action="x", depend_on=[])  # type: ignore[call-arg]
    agent = Agent()
    with pytest.raises(AttributeError, match="Agent has no setting 'temprature'; did you mean temperature"):
        agent.temprature = 1  # type: ignore[attr-defined]
    agent.database = 1  # type: ignore[attr-defined]  # a subclass has attributes too


def test_a_conversation_can_be_put_back(agent: Agent, service: FakeAgentService) -> None:
    agent.run("Hi")
    stored = json.loads(json.dumps(agent.messages))
    restored = Agent(target=service.target, messages=stored)
    assert restored.messages == agent.messages
    restored.run("And now?")
    assert [message.parts[0].text for message in service.requests[-1].messages] == ["Hi", "Hello world", "And now?"]
    restored.messages = []
    assert restored.messages == []


def test_a_partial_reply_that_is_put_back_stays_marked() -> None:
    kept = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "interrupted": True}]
    assert Agent(messages=kept).messages == kept


def test_the_limit_of_the_history_holds_for_a_conversation_that_is_put_back() -> None:
    kept = [{"role": role, "content": str(n)} for n in range(3) for role in ("user", "assistant")]
    assert Agent(messages=kept, history=4).messages == kept[2:]


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ([{"role": "assistant", "content": "a"}], r"messages\[0\]\.role: must be user"),
        ([{"role": "system", "content": "a"}], "give the instructions as instructions="),
        ([{"role": "user", "content": "a"}], "messages: must end with a reply"),
        ("a", "messages: must be a list"),
        ([1], r"messages\[0\]: must be a dict"),
    ],
)
def test_a_conversation_that_cannot_be_continued_is_refused(messages: Any, problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        Agent(messages=messages)


def test_the_package_knows_its_version() -> None:
    assert headwater.__version__ == importlib.metadata.version("headwater")
