"""A call's arguments on the wire, and those that are refused before anything is sent."""

from __future__ import annotations

import asyncio
import base64
import copy
import inspect
import json
import math
import pickle
from collections.abc import Callable
from decimal import Decimal
from typing import Any, get_args

import pytest
from google.protobuf.json_format import MessageToDict

from headwater import Agent, Image, MessageTooLargeError, ValidationError
from headwater._call.arguments import ReasoningEffort
from headwater.v1 import agent_pb2, agent_service_pb2

PNG = b"\x89PNG"


def sent(prompt: Any = "Hi", agent: Agent | None = None, **arguments: Any) -> agent_service_pb2.StreamRequest:
    """The request that a call would send."""
    return (agent or Agent()).stream(prompt, **arguments)._prepared.request


def asked(agent: Agent | None = None, **arguments: Any) -> agent_pb2.AgentConfig:
    """The agent of that request."""
    return sent(agent=agent, **arguments).agent


def refused(field: str, cure: str, make: Callable[[], object]) -> None:
    """The call is refused with an error that names the field and the cure."""
    with pytest.raises(ValidationError) as caught:
        make()
    assert [violation[0] for violation in caught.value.violations] == [field]
    assert str(caught.value).startswith(f"{field}: ")
    assert cure in str(caught.value)


def parts(request: agent_service_pb2.StreamRequest) -> list[dict[str, Any]]:
    return [MessageToDict(part) for part in request.messages[-1].parts]


def test_a_prompt_alone_sends_nothing_else() -> None:
    assert sent() == agent_service_pb2.StreamRequest(
        agent=agent_pb2.AgentConfig(),
        messages=[agent_pb2.ChatMessage(role=agent_pb2.ROLE_USER, parts=[agent_pb2.Part(text="Hi")])],
        resumable=True,
    )


def test_sampling_keywords_are_sent_as_given_and_zero_is_a_value() -> None:
    request = asked(
        temperature=0, max_tokens=5, top_p=0.5, frequency_penalty=-1, presence_penalty=1.5, stop=["a", "b"], seed=0
    )
    assert (request.temperature, request.HasField("temperature")) == (0.0, True)
    assert (request.seed, request.HasField("seed")) == (0, True)
    assert (request.max_tokens, request.top_p) == (5, 0.5)
    assert (request.frequency_penalty, request.presence_penalty) == (-1.0, 1.5)
    assert list(request.stop) == ["a", "b"]
    assert list(asked(stop="end").stop) == ["end"]


def test_a_call_overrides_the_agent() -> None:
    agent = Agent(instructions="Be brief.", model="m", provider="p", temperature=0.5, max_tokens=9, api_key="k")
    plain = asked(agent)
    assert (plain.instructions, plain.model, plain.provider) == ("Be brief.", "m", "p")
    assert (plain.temperature, plain.max_tokens) == (0.5, 9)
    other = asked(agent, temperature=1, max_tokens=1, model="n")
    assert (other.temperature, other.max_tokens, other.model) == (1, 1, "n")
    assert (asked(agent, instructions="Rhyme.").instructions, asked(agent, instructions="").instructions) == (
        "Rhyme.",
        "",
    )


def headers(agent: Agent, **arguments: Any) -> dict[str, str]:
    return dict(asyncio.run(agent.stream("Hi", **arguments)._prepared.headers()))


def test_the_callers_key_for_the_provider_is_metadata_and_never_in_a_message() -> None:
    agent = Agent(api_key="key-secret", token="tok")
    assert headers(agent) == {"authorization": "Bearer tok", "headwater-provider-key": "key-secret"}
    assert headers(agent, api_key="other") == {"authorization": "Bearer tok", "headwater-provider-key": "other"}
    assert b"key-secret" not in sent(agent=agent).SerializeToString()
    assert headers(Agent()) == {}


def test_the_callers_headers_for_the_provider_are_metadata_and_never_in_a_message() -> None:
    agent = Agent(provider_headers={"X-Session-Id": "secret-7"})
    assert headers(agent) == {"headwater-provider-header-x-session-id": "secret-7"}
    assert headers(agent, provider_headers={"x-session-id": "8", "x-title": "Tests"}) == {
        "headwater-provider-header-x-session-id": "8",
        "headwater-provider-header-x-title": "Tests",
    }
    assert b"secret" not in sent(agent=agent).SerializeToString()
    agent.provider_headers = None
    assert headers(agent) == {}


@pytest.mark.parametrize("wrong", ["no", 0, None, 1.0])
def test_whether_a_reply_can_be_resumed_is_true_or_false(wrong: Any) -> None:
    with pytest.raises(ValidationError, match=r"^resumable: must be True or False, not "):
        Agent().stream("Hi", resumable=wrong)


def test_log_probabilities_are_asked_for_with_a_number_of_likely_tokens() -> None:
    agent = Agent(logprobs=3)
    assert asked(agent).logprobs == 3
    assert asked(agent, logprobs=0) == asked(logprobs=True) != asked()
    assert not asked(agent, logprobs=False).HasField("logprobs")
    assert not asked().HasField("logprobs")


def test_the_provider_is_asked_to_keep_the_instructions() -> None:
    agent = Agent(instructions="Long.", instructions_cache=True)
    assert asked(agent).HasField("instructions_cache")
    assert not asked(agent).instructions_cache.HasField("ttl")
    assert asked(agent, instructions_cache=600).instructions_cache.ttl.seconds == 600
    assert not asked(agent, instructions_cache=False).HasField("instructions_cache")


def noop(a: int) -> int:
    return a


def test_how_hard_the_model_thinks_and_whether_it_may_call_tools_at_once() -> None:
    agent = Agent(reasoning_effort="low", tools=[noop], parallel_tool_calls=False)
    assert (asked(agent).reasoning_effort, asked(agent).parallel_tool_calls) == (agent_pb2.REASONING_EFFORT_LOW, False)
    other = asked(agent, reasoning_effort="max", parallel_tool_calls=True)
    assert (other.reasoning_effort, other.parallel_tool_calls) == (agent_pb2.REASONING_EFFORT_MAX, True)
    assert not asked(agent, tools=[]).HasField("parallel_tool_calls")
    assert asked().reasoning_effort == agent_pb2.REASONING_EFFORT_UNSPECIFIED


def test_every_effort_of_the_contract_can_be_asked_for() -> None:
    names = {
        value.name.removeprefix("REASONING_EFFORT_").lower() for value in agent_pb2.ReasoningEffort.DESCRIPTOR.values
    }
    assert names - {"unspecified"} == set(get_args(ReasoningEffort))
    for name in names - {"unspecified"}:
        assert asked(reasoning_effort=name).reasoning_effort == agent_pb2.ReasoningEffort.Value(
            f"REASONING_EFFORT_{name.upper()}"
        )


def test_labels_of_a_call_are_added_to_those_of_the_agent() -> None:
    agent = Agent(labels={"team": "billing", "env": "test"}, user="u-1")
    assert (dict(asked(agent).labels), asked(agent).user) == ({"team": "billing", "env": "test"}, "u-1")
    other = asked(agent, labels={"env": "live", "job.id": "7"}, user="u-2")
    assert (dict(other.labels), other.user) == ({"team": "billing", "env": "live", "job.id": "7"}, "u-2")


@pytest.mark.parametrize("name", ["token", "target", "connection", "name", "system"])
def test_a_setting_of_the_agent_is_never_an_option_of_the_provider(name: str) -> None:
    cure = "instructions" if name == "system" else f"Agent({name}=...)"
    refused(name, cure, lambda: Agent().stream("Hi", **{name: "secret"}))
    refused(name, "provider_options=", lambda: Agent(provider="p").stream("Hi", **{name: None}))
    with pytest.raises(ValidationError) as caught:
        Agent().stream("Hi", **{name: "tok-secret"})
    assert "secret" not in str(caught.value)
    assert "secret" in str(sent(provider_options={"p": {name: "secret"}}))


def test_settings_may_be_changed_at_any_time() -> None:
    agent = Agent(token="one", api_key="k")
    agent.token, agent.api_key, agent.history = "two", "l", 4
    assert (agent.token, agent.api_key, agent.history) == ("two", "l", 4)
    assert headers(agent) == {"authorization": "Bearer two", "headwater-provider-key": "l"}
    agent.token = agent.api_key = None
    assert headers(agent) == {}


@pytest.mark.parametrize(("name", "value"), [("token", "a\n"), ("api_key", "ü"), ("history", -1), ("history", "20")])
def test_a_bad_setting_is_refused_when_it_is_assigned(name: str, value: Any) -> None:
    agent = Agent(token="one", api_key="k")
    with pytest.raises(ValidationError) as caught:
        setattr(agent, name, value)
    assert caught.value.violations[0][0] == name
    assert (agent.token, agent.api_key, agent.history) == ("one", "k", 20)


def twins(agent: Agent) -> list[Agent]:
    return [copy.copy(agent), copy.deepcopy(agent), pickle.loads(pickle.dumps(agent))]  # noqa: S301


def test_a_copy_has_the_settings_and_a_history_of_its_own() -> None:
    settings: dict[str, Any] = {
        "name": "Ada", "instructions": "Be brief.", "model": "m", "provider": "p", "temperature": 0.5, "max_tokens": 9,
        "timeout": 3.0, "target": "https://example:1", "token": "tok", "history": 6, "api_key": "k",
        "logprobs": 3, "instructions_cache": 600, "provider_headers": {"x-session-id": "7"},
        "reasoning_effort": "high", "labels": {"team": "billing"}, "user": "u-1", "parallel_tool_calls": True,
    }  # fmt: skip
    agent = Agent(**settings)
    for twin in twins(agent):
        assert {name: getattr(twin, name) for name in settings} == settings
        assert twin.stream("Hi")._prepared.request == agent.stream("Hi")._prepared.request
        assert twin.id != agent.id
        assert twin._history is not agent._history
        twin.history = 2
        assert agent.history == 6


def test_words_for_unsupported_params_may_be_written_as_the_contract_does() -> None:
    assert sent(unsupported_params="DROP") == sent(unsupported_params="drop")
    assert sent(unsupported_params="ERROR") == sent(unsupported_params="error") != sent(unsupported_params="drop")


def test_another_provider_does_not_get_the_agents_model() -> None:
    agent = Agent(model="llama3.2", provider="ollama")
    assert (asked(agent, provider="openai").model, asked(agent, provider="ollama").model) == ("", "llama3.2")
    assert asked(agent, provider="openai", model="gpt-4o-mini").model == "gpt-4o-mini"


def test_a_model_that_implies_its_provider_is_not_sent_to_another() -> None:
    agent = Agent(model="scripted/story")
    assert (asked(agent, provider="openai").model, asked(agent, provider="openai").provider) == ("", "openai")
    assert asked(agent, provider="openai", model="gpt-4o-mini").model == "gpt-4o-mini"
    assert asked(agent).model == "scripted/story"


def test_set_provider_forgets_the_model() -> None:
    agent = Agent(model="llama3.2", provider="ollama")
    agent.set_provider("anthropic")
    assert (asked(agent).provider, asked(agent).model) == ("anthropic", "")
    agent.set_provider("openai", "gpt-4o-mini")
    assert (asked(agent).provider, asked(agent).model) == ("openai", "gpt-4o-mini")


def test_context_is_appended_to_the_instructions_line_by_line() -> None:
    agent = Agent(instructions="Be brief.")
    request = asked(agent, context={"city": "Köln", "year": 2024, "tags": ["a", "b"], "open": True, "end": None})
    assert request.instructions == 'Be brief.\ncity: Köln\nyear: 2024\ntags: ["a", "b"]\nopen: true\nend: null'
    assert asked(context={"city": "Köln"}).instructions == "city: Köln"
    assert asked(agent, context={}).instructions == "Be brief."


def test_a_prompt_may_have_several_parts() -> None:
    prompt = [
        "What is this?",
        {"type": "text", "text": "And this?"},
        Image(data=PNG, media_type="image/png"),
        Image(url="https://example.org/a.png"),
        {"type": "image", "data": PNG, "media_type": "image/png"},
        {"type": "image_url", "image_url": "https://example.org/b.png"},
        {"type": "image_url", "image_url": {"url": "https://example.org/c.png"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + base64.b64encode(PNG).decode()}},
    ]
    data = {"image": {"data": base64.b64encode(PNG).decode(), "mediaType": "image/png"}}
    assert parts(sent(prompt)) == [
        {"text": "What is this?"},
        {"text": "And this?"},
        data,
        {"image": {"url": "https://example.org/a.png"}},
        data,
        {"image": {"url": "https://example.org/b.png"}},
        {"image": {"url": "https://example.org/c.png"}},
        data,
    ]


def test_messages_are_taken_as_other_sdks_write_them() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"b": 1, "a": 2}'}}
    request = sent(
        "And now?",
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "1 + 2?"}]},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": "3"},
            agent_pb2.ChatMessage(role=agent_pb2.ROLE_ASSISTANT, content="3"),
        ],
    )
    assert [MessageToDict(message) for message in request.messages] == [
        {"role": "ROLE_SYSTEM", "parts": [{"text": "Be brief."}]},
        {"role": "ROLE_USER", "parts": [{"text": "1 + 2?"}]},
        {
            "role": "ROLE_ASSISTANT",
            "parts": [{"toolCall": {"id": "call_1", "name": "add", "argumentsJson": '{"b": 1, "a": 2}'}}],
        },
        {"role": "ROLE_TOOL", "parts": [{"toolResult": {"toolCallId": "call_1", "content": "3"}}]},
        {"role": "ROLE_ASSISTANT", "content": "3"},
        {"role": "ROLE_USER", "parts": [{"text": "And now?"}]},
    ]


def test_messages_may_stand_without_a_prompt() -> None:
    assert len(sent("", messages=[{"role": "user", "content": "Hi"}]).messages) == 1


def test_tool_calls_may_be_written_as_chunks_have_them() -> None:
    calls = [{"id": "call_1", "name": "add", "arguments": {"b": 1, "a": 2}}]
    request = sent(messages=[{"role": "assistant", "content": "", "tool_calls": calls}])
    assert request.messages[0].parts[0].tool_call.arguments_json == '{"b": 1, "a": 2}'


def test_keys_that_say_nothing_are_taken_as_sdks_dump_them() -> None:
    dumped = {"role": "assistant", "content": "Hi", "refusal": None, "annotations": [], "function_call": None}
    assert sent(messages=[dumped]) == sent(messages=[{"role": "assistant", "content": "Hi"}])
    assert sent(messages=[{"role": "assistant", "content": "Hi", "interrupted": True}])


def test_a_tool_message_may_name_its_tool_where_calls_have_no_ids() -> None:
    request = sent(messages=[{"role": "tool", "name": "add", "content": "3"}])
    assert (request.messages[0].parts[0].tool_result.name, request.messages[0].parts[0].tool_result.content) == (
        "add",
        "3",
    )


SAID = {"role": "user", "content": "Hi"}
CACHED = {"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}
SCHEMA = {"type": "object", "properties": {"z": {"type": "string"}, "a": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("text", {"type": "RESPONSE_FORMAT_TYPE_TEXT"}),
        ("json", {"type": "RESPONSE_FORMAT_TYPE_JSON_OBJECT"}),
        ("json_object", {"type": "RESPONSE_FORMAT_TYPE_JSON_OBJECT"}),
        ({"type": "json_object"}, {"type": "RESPONSE_FORMAT_TYPE_JSON_OBJECT"}),
        (SCHEMA, {"type": "RESPONSE_FORMAT_TYPE_JSON_SCHEMA", "schemaJson": json.dumps(SCHEMA)}),
        (
            {"type": "json_schema", "json_schema": {"name": "facts", "schema": SCHEMA, "strict": True}},
            {
                "type": "RESPONSE_FORMAT_TYPE_JSON_SCHEMA",
                "schemaJson": json.dumps(SCHEMA),
                "name": "facts",
                "strict": True,
            },
        ),
    ],
)
def test_response_formats(given: Any, expected: dict[str, Any]) -> None:
    assert MessageToDict(asked(response_format=given).response_format) == expected


def test_any_other_keyword_is_an_option_of_the_provider_in_use() -> None:
    request = asked(provider="ollama", num_ctx=8192, provider_options={"ollama": {"num_ctx": 1, "mirostat": 2}})
    assert MessageToDict(request)["providerOptions"] == {"ollama": {"num_ctx": 8192.0, "mirostat": 2.0}}
    assert MessageToDict(asked(Agent(provider="openai"), store=True))["providerOptions"] == {"openai": {"store": True}}


def test_unsupported_params() -> None:
    assert asked(unsupported_params="error").unsupported_params == agent_pb2.UNSUPPORTED_PARAMS_ERROR
    assert asked(unsupported_params="drop").unsupported_params == agent_pb2.UNSUPPORTED_PARAMS_DROP


def test_what_a_caller_changes_afterwards_is_not_sent() -> None:
    message = agent_pb2.ChatMessage(role=agent_pb2.ROLE_USER, content="Hi")
    stream = Agent().stream("", messages=[message])
    message.content = "Ho"
    assert stream._prepared.request.messages[0].content == "Hi"


HALF = "\ud83d"


@pytest.mark.parametrize(
    ("field", "cure", "arguments"),
    [
        ("temperature", "finite", {"temperature": math.nan}),
        ("temperature", "finite", {"temperature": math.inf}),
        ("temperature", "finite", {"temperature": 10**400}),
        ("temperature", "number", {"temperature": "hot"}),
        ("temperature", "number", {"temperature": True}),
        ("max_tokens", "2147483647", {"max_tokens": 2**31}),
        ("max_tokens", "int", {"max_tokens": 1.5}),
        ("seed", "-2147483648", {"seed": -(2**31) - 1}),
        ("stop", "list of str", {"stop": 3}),
        ("stop[1]", "str", {"stop": ["a", 3]}),
        ("stop", "empty", {"stop": [""]}),
        ("timeout", "above 0", {"timeout": 0}),
        ("timeout", "finite", {"timeout": math.inf}),
        ("timeout", "at most", {"timeout": 1e300}),
        ("context", "dict", {"context": "city"}),
        ("context.city", "JSON", {"context": {"city": object()}}),
        ("context (a key)", "str", {"context": {1: "a"}}),
        ("response_format", '"json"', {"response_format": "yaml"}),
        ("response_format", "JSON Schema", {"response_format": {"foo": 1}}),
        ("response_format.json_schema", "schema", {"response_format": {"type": "json_schema"}}),
        ("unsupported_params", '"drop"', {"unsupported_params": "ignore"}),
        ("unsupported_params", '"drop"', {"unsupported_params": 2}),
        ("instructions", "str", {"instructions": 3}),
        ("history", "0 or more", {"history": -1}),
        ("history", "int", {"history": "all"}),
        ("history", "messages=", {"history": 2, "messages": [{"role": "user", "content": "Hi"}]}),
        ("provider_options", "dict", {"provider_options": 1}),
        ("provider_options.ollama", "dict", {"provider_options": {"ollama": 1}}),
        ("provider_options.ollama.a", "2^53", {"provider_options": {"ollama": {"a": 2**53 + 1}}}),
        ("options.think", "JSON", {"think": object()}),
        ("options.price", "JSON", {"price": Decimal(1)}),
        ("options.a[0].b", "finite", {"a": [{"b": math.nan}]}),
        ("api_key", "ASCII", {"api_key": "schlüssel"}),
        ("api_key", "line break", {"api_key": "key\n"}),
        ("api_key", "4,096", {"api_key": "k" * 4097}),
        ("provider_headers", "dict", {"provider_headers": "x-session-id: 7"}),
        ("provider_headers", "letters, digits", {"provider_headers": {"x session": "7"}}),
        ("provider_headers", "letters, digits", {"provider_headers": {7: "7"}}),
        ("provider_headers", "letters, digits", {"provider_headers": {"": "7"}}),
        ("provider_headers", "not end in -bin", {"provider_headers": {"x-bin": "7"}}),
        ("provider_headers.x-a", "given twice", {"provider_headers": {"x-a": "1", "X-A": "1"}}),
        ("provider_headers.x-a", "ASCII", {"provider_headers": {"x-a": "ü"}}),
        ("provider_headers.x-a", "line break", {"provider_headers": {"x-a": "a\r\nb: c"}}),
        ("provider_headers.x-a", "4,096", {"provider_headers": {"x-a": "a" * 4097}}),
        ("logprobs", "0 to 20", {"logprobs": 21}),
        ("logprobs", "0 to 20", {"logprobs": -1}),
        ("logprobs", "int", {"logprobs": 0.5}),
        ("instructions_cache", "seconds", {"instructions_cache": 0}),
        ("instructions_cache", "seconds", {"instructions_cache": "1h"}),
        ("reasoning_effort", "one of none, minimal, low", {"reasoning_effort": "hard"}),
        ("reasoning_effort", "one of", {"reasoning_effort": 3}),
        ("parallel_tool_calls", "tools=", {"parallel_tool_calls": True}),
        ("parallel_tool_calls", "True, False", {"parallel_tool_calls": 1, "tools": [noop]}),
        ("labels", "dict", {"labels": ["a"]}),
        ("labels", "lower-case", {"labels": {"Team": "a"}}),
        ("labels", "lower-case", {"labels": {"x" * 64: "a"}}),
        ("labels", "lower-case", {"labels": {1: "a"}}),
        ("labels", "at most 16", {"labels": {f"k{number}": "" for number in range(17)}}),
        ("labels.team", "str", {"labels": {"team": 1}}),
        ("labels.team", "256", {"labels": {"team": "x" * 257}}),
        ("user", "256", {"user": "u" * 257}),
        ("user", "str", {"user": 7}),
        (
            "messages[0].content[0].provider_data",
            "data_json",
            {"messages": [{"role": "assistant", "content": [{"type": "text", "text": "a", "provider_data": "x"}]}]},
        ),
        ("model", "str", {"model": 4}),
        ("base_url", "[providers.NAME]", {"base_url": "http://localhost:8000/v1"}),
        ("messages", "list", {"messages": "Hi"}),
        ("messages[0]", "dict", {"messages": ["Hi"]}),
        ("messages[0].role", "user", {"messages": [{"role": "bot", "content": "Hi"}]}),
        ("messages[0].role", "user", {"messages": [{"role": [], "content": "Hi"}]}),
        ("messages[0].content", "empty", {"messages": [{"role": "user"}]}),
        ("messages[0].content[0]", "type", {"messages": [{"role": "user", "content": [{"type": "video"}]}]}),
        ("messages[0].tool_calls[0].name", "str", {"messages": [{"role": "assistant", "tool_calls": [{"id": "1"}]}]}),
        ("messages[0].tool_call_id", "is missing", {"messages": [{"role": "tool", "content": "3"}]}),
        (
            "messages[0].tool_call_id",
            "is missing",
            {"messages": [{"role": "tool", "tool_call_id": "", "content": "3"}]},
        ),
        ("messages[0].tool_call_id", "is missing", {"messages": [{"role": "tool", "content": ["3"]}]}),
        ("messages[0].name", "role, content", {"messages": [{"role": "user", "content": "Hi", "name": "Ada"}]}),
        ("messages[1].foo", "tool_calls", {"messages": [SAID, {"role": "assistant", "content": "Hi", "foo": 0}]}),
        ("messages[0].tool_calls", "known", {"messages": [{**SAID, "tool_calls": [{"id": "1", "name": "a"}]}]}),
        ("messages[0].content[0].cache_control", "text", {"messages": [{"role": "user", "content": [CACHED]}]}),
        ("messages[0].tool_calls[0].foo", "id", {"messages": [{"role": "assistant", "tool_calls": [{"foo": "1"}]}]}),
    ],
)
def test_a_bad_argument_is_refused_at_once_by_name(field: str, cure: str, arguments: dict[str, Any]) -> None:
    refused(field, cure, lambda: Agent().stream("Hi", **arguments))


@pytest.mark.parametrize(
    ("field", "cure", "prompt"),
    [
        ("prompt", "empty", ""),
        ("prompt", "empty", []),
        ("prompt", "list of parts", 3),
        ("prompt", "list of parts", b"Hi"),
        ("prompt", "surrogate", "Hi" + HALF),
        ("prompt[0]", "image", [3]),
        ("prompt[0]", "url", [Image()]),
        ("prompt[0]", "url", [Image(data=PNG, media_type="image/png", url="https://example.org/a.png")]),
        ("prompt[0].media_type", "image/png", [Image(data=PNG)]),
        ("prompt[0].data", "base64", [{"type": "image", "data": "iVBORw0KGgo=", "media_type": "image/png"}]),
        ("prompt[0]", "base64", [{"type": "image_url", "image_url": "data:image/png;base64,???"}]),
        ("prompt[0].text", "str", [{"type": "text"}]),
        ("prompt[0].source", "media_type", [{"type": "image", "source": {"type": "base64"}}]),
        (
            "prompt[0].image_url.detail",
            "url",
            [{"type": "image_url", "image_url": {"url": "https://a", "detail": "low"}}],
        ),
    ],
)
def test_a_bad_prompt_is_refused_at_once(field: str, cure: str, prompt: Any) -> None:
    refused(field, cure, lambda: Agent().stream(prompt))


@pytest.mark.parametrize(
    ("field", "cure", "arguments"),
    [
        ("temperature", "finite", {"temperature": math.nan}),
        ("max_tokens", "int", {"max_tokens": "many"}),
        ("timeout", "above 0", {"timeout": -1}),
        ("history", "0 or more", {"history": -1}),
        ("history", "int", {"history": None}),
        ("target", "HOST:PORT", {"target": "http://localhost:50051"}),
        ("target", "HOST:PORT", {"target": ""}),
        ("target", "localhost:50051", {"target": "local host"}),
        ("target", "HOST:PORT", {"target": "localhost"}),
        ("target", "HOST:PORT", {"target": "localhost:"}),
        ("target", "HOST:PORT", {"target": "localhost:0"}),
        ("target", "HOST:PORT", {"target": "localhost:65536"}),
        ("target", "HOST:PORT", {"target": ":50051"}),
        ("target", "HOST:PORT", {"target": "::1"}),
        ("target", "HOST:PORT", {"target": "[::1]"}),
        ("target", "HOST:PORT", {"target": "dns:///localhost"}),
        ("target", "HOST:PORT", {"target": "ipv4:127.0.0.1"}),
        ("token", "ASCII", {"token": "geheim\n"}),
        ("reasoning_effort", "one of", {"reasoning_effort": "hard"}),
        ("labels", "lower-case", {"labels": {"Team": "a"}}),
        ("user", "256", {"user": "u" * 257}),
        ("provider_headers", "letters, digits", {"provider_headers": {"x:a": "a"}}),
        ("logprobs", "0 to 20", {"logprobs": 21}),
        ("instructions_cache", "seconds", {"instructions_cache": -1}),
        ("parallel_tool_calls", "True, False", {"parallel_tool_calls": "yes"}),
        ("instructions", "str", {"instructions": None}),
        ("base_url", "api_key_env", {"base_url": "http://localhost:8000/v1"}),
    ],
)
def test_a_bad_agent_is_refused_at_once(field: str, cure: str, arguments: dict[str, Any]) -> None:
    refused(field, cure, lambda: Agent(**arguments))


@pytest.mark.parametrize(
    "target",
    [
        "localhost:50051", "my-host.example.org:1", "127.0.0.1:65535", "[::1]:50051", "dns:localhost:50051",
        "dns:///localhost:50051", "dns://8.8.8.8/example.org:443", "ipv4:127.0.0.1:50051,127.0.0.1:50052",
        "ipv6:[::1]:50051", "unix:/run/headwater.sock", "unix:///run/headwater.sock", "unix-abstract:headwater",
    ],
)  # fmt: skip
def test_an_address_with_a_port_or_in_another_form_of_grpc_is_taken(target: str) -> None:
    assert Agent(target=target).stream("Hi")._prepared.server.target == target


@pytest.mark.parametrize("target", ["http://localhost", "localhost"])
def test_a_bad_target_of_the_environment_is_named_so(monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    monkeypatch.setenv("HEADWATER_TARGET", target)
    refused("HEADWATER_TARGET", "HOST:PORT", lambda: Agent().stream("Hi"))


def test_options_nested_beyond_what_parsers_read_are_refused() -> None:
    def nested(levels: int) -> Any:
        return [nested(levels - 1)] if levels else 1

    request = sent(provider="ollama", a=nested(28))
    assert agent_service_pb2.StreamRequest.FromString(request.SerializeToString()) == request
    with pytest.raises(ValidationError, match="nested more than 30"):
        sent(provider="ollama", a=nested(40))


def test_a_value_that_contains_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(ValidationError):
        sent(a=loop)
    with pytest.raises(ValidationError):
        sent(context={"a": loop})


def test_a_request_beyond_the_limit_is_refused_before_it_is_sent() -> None:
    with pytest.raises(MessageTooLargeError, match="33,554,432"):
        Agent().stream("x" * (33 << 20))
    assert sent("x" * (31 << 20)).ByteSize() > 31 << 20


def test_no_secret_is_in_a_representation() -> None:
    agent = Agent(token="tok-secret", api_key="key-secret", provider_headers={"x-a": "header-secret"})
    stream = agent.stream("Hi")
    agent.token, agent.api_key = "new-secret", "new-secret"
    assert "secret" not in repr(agent) + repr(stream) + repr(stream._prepared) + repr(stream._prepared.server)


@pytest.mark.parametrize("method", [Agent.arun, Agent.run, Agent.stream_sync])
def test_all_calls_take_the_arguments_of_stream(method: Any) -> None:
    assert inspect.signature(method).parameters == inspect.signature(Agent.stream).parameters
