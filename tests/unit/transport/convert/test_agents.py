"""The contract's AgentConfig and the domain's say the same, and every mistake is named."""

from __future__ import annotations

import math
from typing import Any

import pytest

from headwater.v1 import agent_pb2
from headwater_server.domain.errors import FieldViolation
from headwater_server.domain.messages import (
    AgentConfig,
    ResponseFormat,
    ResponseFormatType,
    Tool,
    ToolChoice,
    ToolChoiceMode,
)
from headwater_server.transport.convert.agents import agent_message, parse_agent
from headwater_server.transport.convert.structs import dict_to_struct


def parse(**fields: Any) -> AgentConfig:
    bad: list[FieldViolation] = []
    agent = parse_agent(agent_pb2.AgentConfig(**fields), "agent", bad)
    assert not bad
    return agent


def violations(path: str = "agent", **fields: Any) -> dict[str, str]:
    """The bad fields of an agent, and what is said of them."""
    bad: list[FieldViolation] = []
    parse_agent(agent_pb2.AgentConfig(**fields), path, bad)
    return {v.field: v.description for v in bad}


def function(**fields: Any) -> dict[str, Any]:
    return {"function": {"name": "a"} | fields}


def test_what_nobody_set_is_not_there():
    assert parse() == AgentConfig()


def test_what_somebody_set_is_there_even_when_it_is_zero():
    agent = parse(
        temperature=0.0, seed=0, presence_penalty=-0.5, stop=["a", "b"], max_tokens=7, top_p=1,
        reasoning_effort=agent_pb2.REASONING_EFFORT_NONE, tools=[function()], parallel_tool_calls=False,
    )  # fmt: skip
    assert agent.sampling == {
        "temperature": 0, "top_p": 1, "presence_penalty": -0.5, "max_tokens": 7, "seed": 0, "stop": ["a", "b"],
        "reasoning_effort": "none", "parallel_tool_calls": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"temperature": 2.5}, "temperature", "from 0 up to 2, is 2.5"),
        ({"temperature": math.nan}, "temperature", "is nan"),
        ({"top_p": 0.0}, "top_p", "above 0"),
        ({"frequency_penalty": -3}, "frequency_penalty", "from -2 up to 2"),
        ({"presence_penalty": math.inf}, "presence_penalty", "is inf"),
        ({"max_tokens": 0}, "max_tokens", "at least 1"),
        ({"logprobs": -1}, "logprobs", "must be 0 to 20"),
        ({"logprobs": 21}, "logprobs", "is 21"),
        ({"instructions_cache": {"ttl": {}}}, "instructions_cache.ttl", "above 0 and at most 1 day, is 0 s"),
        ({"stop": ["a", ""]}, "stop[1]", "is empty"),
        ({"stop": ["x"] * 10_001}, "stop", "more than 10000"),
        ({"model": "m" * 257}, "model", "longer than 256"),
        ({"provider": "p" * 257}, "provider", "longer than 256"),
        ({"user": "u" * 257}, "user", "longer than 256"),
        ({"reasoning_effort": 77}, "reasoning_effort", "not a value"),
        ({"parallel_tool_calls": True}, "parallel_tool_calls", "without tools"),
        ({"unsupported_params": 9}, "unsupported_params", "not a value"),
        ({"timeouts": {"first_chunk": {}}}, "timeouts.first_chunk", "above 0 and at most 1 day, is 0 s"),
        ({"timeouts": {"next_chunk": {"seconds": -1}}}, "timeouts.next_chunk", "is -1 s"),
        ({"timeouts": {"next_chunk": {"seconds": 86_400, "nanos": 1}}}, "timeouts.next_chunk", "at most 1 day"),
        ({"timeouts": {"next_chunk": {"nanos": 1_000_000_000}}}, "timeouts.next_chunk", "less than a second"),
        ({"timeouts": {"next_chunk": {"seconds": 1, "nanos": -1}}}, "timeouts.next_chunk", "different signs"),
        ({"tools": [{}]}, "tools[0]", "set function"),
        ({"tools": [function() | {"cache": {"ttl": {}}}]}, "tools[0].cache.ttl", "above 0 and at most 1 day, is 0 s"),
        ({"tools": [function() | {"cache": {"ttl": {"nanos": 2_000_000_000}}}]}, "tools[0].cache.ttl", "than a second"),
        ({"tools": [function(name="a b")]}, "tools[0].function.name", "letters"),
        ({"tools": [function(), function()]}, "tools[1].function.name", "must differ"),
        ({"tools": [function(parameters_json="{")]}, "tools[0].function.parameters_json", "is not JSON"),
        ({"tools": [function(parameters_json="[]")]}, "tools[0].function.parameters_json", "must be a JSON object"),
        ({"tools": [function(parameters_json='{"a":NaN}')]}, "tools[0].function.parameters_json", "does not have"),
        ({"tools": [function(parameters_json="[" * 100_000)]}, "tools[0].function.parameters_json", "too deep"),
        ({"tools": [function(parameters_json='{"a":1e999}')]}, "tools[0].function.parameters_json", "a number"),
        ({"tools": [function(parameters_json='{"a":"\\ud800"}')]}, "tools[0].function.parameters_json", "surrogate"),
        ({"tools": [function(parameters_json="[" * 1_100_000)]}, "tools", "more than 1048576"),
        ({"tools": [function()] * 10_001}, "tools", "more than 10000"),
        ({"tool_choice": {"mode": 1}}, "tool_choice", "without tools"),
        ({"tools": [function()], "tool_choice": {"function": "b"}}, "tool_choice.function", "not the name"),
        ({"tools": [function()], "tool_choice": {"function": ""}}, "tool_choice.function", "not the name"),
        ({"tools": [function()], "tool_choice": {"mode": 77}}, "tool_choice.mode", "not a value"),
        ({"response_format": {"type": 3}}, "response_format.schema_json", "is not JSON"),
        ({"response_format": {"type": 2, "schema_json": "{}"}}, "response_format.schema_json", "only for"),
        ({"response_format": {"type": 3, "schema_json": "{}", "name": "a b"}}, "response_format.name", "letters"),
        ({"response_format": {"type": 8}}, "response_format.type", "not a value"),
        ({"provider_options": {"openai": dict_to_struct({"a": "x" * 300_000})}}, "provider_options", "more than 262144 bytes"),
        ({"labels": {f"k{i}": "v" for i in range(17)}}, "labels", "more than 16"),
        ({"labels": {"Team": "v"}}, "labels", "lower-case"),
        ({"labels": {"": "v"}}, "labels", "1 to 63"),
        ({"labels": {"k" * 64: "v"}}, "labels", "1 to 63"),
        ({"labels": {"team": "v" * 257}}, "labels.team", "longer than 256"),
    ],
)  # fmt: skip
def test_a_bad_field_is_named_with_its_cure(fields, field, words):
    assert words in violations(**fields)[f"agent.{field}"]


def test_a_bad_field_is_named_where_it_stands():
    assert list(violations("workflow.agent", temperature=9)) == ["workflow.agent.temperature"]


def test_the_callers_timeouts_keep_their_fraction():
    agent = parse(timeouts={"next_chunk": {"seconds": 1, "nanos": 500_000_000}})
    assert (agent.first_chunk_seconds, agent.next_chunk_seconds) == (None, 1.5)


def test_options_become_json_with_integers_and_sorted_keys():
    options = parse(
        provider_options={"ollama": dict_to_struct({"num_ctx": 8192, "a": [1.5, None, True, {"z": "s", "b": 2}]})}
    )
    [(provider, fields)] = options.provider_options.items()
    assert (provider, fields) == ("ollama", {"a": [1.5, None, True, {"b": 2, "z": "s"}], "num_ctx": 8192})
    assert list(fields) == ["a", "num_ctx"]
    assert isinstance(fields["num_ctx"], int)


def test_schemas_keep_their_order_and_their_numbers():
    text = '{"zebra": 9007199254740993, "apple": 3.0}'
    agent = parse(tools=[function(parameters_json=text, strict=True)], tool_choice={"function": "a"})
    [tool] = agent.tools
    assert list(tool.parameters.items()) == [("zebra", 9007199254740993), ("apple", 3.0)]
    assert tool.strict is True
    assert agent.tool_choice == ToolChoice(ToolChoiceMode.REQUIRED, "a")


def test_a_tool_without_a_schema_takes_no_arguments():
    assert parse(tools=[function()]).tools == (Tool("a", "", {"type": "object", "properties": {}}),)


def test_a_schema_for_the_reply():
    form = parse(response_format={"type": 3, "schema_json": '{"type": "object"}'}).response_format
    assert form == ResponseFormat(ResponseFormatType.JSON_SCHEMA, {"type": "object"}, "response")


@pytest.mark.parametrize("effort", agent_pb2.ReasoningEffort.keys()[1:])
def test_every_effort_of_the_contract_has_its_own(effort):
    assert parse(reasoning_effort=effort).sampling == {"reasoning_effort": effort.rpartition("_")[2].lower()}


WHOLE = agent_pb2.AgentConfig(
    model="m",
    provider="openai",
    instructions="Be brief.",
    instructions_cache={"ttl": {"seconds": 600}},
    temperature=0.5,
    max_tokens=7,
    top_p=0.25,
    frequency_penalty=-1,
    presence_penalty=1,
    stop=["a"],
    seed=-3,
    logprobs=0,
    reasoning_effort=agent_pb2.REASONING_EFFORT_XHIGH,
    tools=[
        {"function": {"name": "a", "description": "d", "parameters_json": '{"z": 1, "a": 2.0}', "strict": False}},
        {"function": {"name": "b"}, "cache": {}},
        {"function": {"name": "c"}, "cache": {"ttl": {"seconds": 3600}}},
    ],
    tool_choice={"function": "a"},
    parallel_tool_calls=False,
    response_format={"type": 3, "schema_json": '{"z": 1}', "name": "n", "strict": True},
    unsupported_params=agent_pb2.UNSUPPORTED_PARAMS_DROP,
    timeouts={"first_chunk": {"seconds": 3}, "next_chunk": {"nanos": 250_000_000}},
    provider_options={"ollama": dict_to_struct({"num_ctx": 8192})},
    labels={"team": "red"},
    user="u-1",
    max_attempts=2,
    fallback_models=["b/m", "alias"],
)


@pytest.mark.parametrize(
    "message",
    [
        WHOLE,
        agent_pb2.AgentConfig(),
        agent_pb2.AgentConfig(tools=WHOLE.tools, tool_choice={"mode": agent_pb2.TOOL_CHOICE_MODE_NONE}),
        agent_pb2.AgentConfig(response_format={"type": 2}),
        agent_pb2.AgentConfig(no_fallback=True),
    ],
)
def test_an_agent_comes_back_as_it_was(message):
    bad: list[FieldViolation] = []
    agent = parse_agent(message, "agent", bad)
    assert not bad
    assert agent_message(agent) == message


def test_every_field_of_an_agent_is_in_the_test_of_all_fields():
    with_others = agent_pb2.AgentConfig(no_fallback=True)  # which does not go with fallback_models
    with_others.MergeFrom(WHOLE)
    names = {field.name for field, _ in with_others.ListFields()}
    assert names == {f.name for f in agent_pb2.AgentConfig.DESCRIPTOR.fields}
