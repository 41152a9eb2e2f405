"""An agent that comes again is not parsed again, and what is remembered is bounded."""

from __future__ import annotations

from typing import Any

from headwater.v1 import agent_pb2
from headwater_server.domain.errors import FieldViolation
from headwater_server.domain.messages import AgentConfig
from headwater_server.transport.convert import agents
from headwater_server.transport.convert.agents import KnownAgents, parse_agent


def message(**fields: Any) -> agent_pb2.AgentConfig:
    tool = {"function": {"name": "a", "parameters_json": '{"type": "object"}'}}
    return agent_pb2.AgentConfig(model="m", temperature=0.5, tools=[tool], labels={"a": "b", "c": "d"}, **fields)


def parse(known: KnownAgents, **fields: Any) -> AgentConfig:
    bad: list[FieldViolation] = []
    agent = known.parse(message(**fields), "agent", bad)
    assert not bad
    assert agent == parse_agent(message(**fields), "agent", bad)
    return agent


def test_an_agent_is_known_again_by_all_of_its_fields():
    known = KnownAgents()
    assert parse(known, user="u") is parse(known, user="u")
    assert parse(known, user="v").user == "v"
    assert parse(known, user="v", seed=1).sampling == {"temperature": 0.5, "seed": 1}


def test_a_mistake_is_named_each_time():
    known = KnownAgents()
    for _ in range(2):
        bad: list[FieldViolation] = []
        known.parse(message(max_tokens=0), "agent", bad)
        assert [violation.field for violation in bad] == ["agent.max_tokens"]


def test_a_mistake_elsewhere_in_the_request_stays():
    known = KnownAgents()
    agent, bad = parse(known), [FieldViolation("prompt", "is empty")]
    assert known.parse(message(), "agent", bad) is agent
    assert len(bad) == 1


def test_a_large_agent_is_not_remembered():
    known = KnownAgents()
    text = "x" * agents.MAX_KNOWN_AGENT_BYTES
    assert parse(known, instructions=text) is not parse(known, instructions=text)


def test_the_agents_of_the_latest_requests_are_remembered():
    known = KnownAgents()
    first = parse(known, user="first")
    for number in range(agents.MAX_KNOWN - 1):
        parse(known, user=str(number))
    assert parse(known, user="first") is first
    second = parse(known, user="1")
    for number in range(agents.MAX_KNOWN):
        parse(known, user=f"another {number}")
    assert parse(known, user="1") is not second


def test_their_messages_are_bounded_in_all():
    known = KnownAgents()
    text = "x" * (agents.MAX_KNOWN_AGENT_BYTES - 100)
    first = parse(known, user="first")
    for number in range(agents.MAX_KNOWN_BYTES // agents.MAX_KNOWN_AGENT_BYTES + 1):
        parse(known, user=str(number), instructions=text)
    assert parse(known, user="first") is not first
