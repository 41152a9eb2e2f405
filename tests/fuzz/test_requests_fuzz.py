"""Any bytes as a request: they are no message, or the request is taken, or its bad fields are named."""

from __future__ import annotations

import msgspec
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from headwater.v1 import agent_pb2, agent_service_pb2
from headwater_server.attempts.request import ParsedRequest
from headwater_server.domain.errors import FieldViolation, HeadwaterError, Reason
from headwater_server.domain.messages import ChatRequest, Message, Role, Text
from headwater_server.providers.anthropic.wire import AnthropicWire
from headwater_server.providers.gemini.wire import GeminiWire
from headwater_server.providers.ollama.wire import OllamaWire
from headwater_server.providers.openai.chat import OpenAIChatWire
from headwater_server.providers.openai.responses import OpenAIResponsesWire
from headwater_server.providers.own_data import only_data_of
from headwater_server.transport.convert.agents import agent_message, parse_agent
from headwater_server.transport.convert.requests import parse_stream_request

WIRES = (OpenAIChatWire(genuine=True), OpenAIResponsesWire(genuine=True), AnthropicWire(), GeminiWire(), OllamaWire())

TEXT = st.text(max_size=20)
JSON_TEXT = st.one_of(
    TEXT, st.sampled_from(['{"type":"object"}', "{}", "[1]", '{"a":1e999}', r'{"a":"\ud800"}', "null"])
)
DATA_OF_PROVIDERS = (
    '{"type":"reasoning","id":1}',
    '{"field":"reasoning_content"}',
    '{"reasoning_details":[1]}',
    '{"extra_content":{"a":[]}}',
)
NUMBER = st.floats(allow_nan=True, allow_infinity=True, width=64)
INT = st.integers(-(2**31), 2**31 - 1)
DURATION = st.fixed_dictionaries({}, optional={"seconds": INT, "nanos": INT})
FAILURE = st.fixed_dictionaries(
    {}, optional={"message": TEXT, "type": TEXT, "reason": st.integers(0, 40), "retry_delay": DURATION}
)
DATA = st.fixed_dictionaries(
    {"provider": st.sampled_from(["", "openai"]), "account": st.sampled_from(["", "a1"])},
    optional={"data_json": st.one_of(JSON_TEXT, st.sampled_from(DATA_OF_PROVIDERS))},
)
PART = st.one_of(
    st.fixed_dictionaries({}),
    st.fixed_dictionaries({"text": TEXT}),
    st.fixed_dictionaries({"image": st.fixed_dictionaries({}, optional={"url": TEXT, "media_type": TEXT})}),
    st.fixed_dictionaries({"image": st.fixed_dictionaries({"data": st.binary(max_size=9), "media_type": TEXT})}),
    st.fixed_dictionaries({"thinking": st.fixed_dictionaries({"text": TEXT, "signature": TEXT})}),
    st.fixed_dictionaries({"redacted_thinking": st.fixed_dictionaries({"data": TEXT})}),
    st.fixed_dictionaries(
        {"tool_call": st.fixed_dictionaries({"id": TEXT, "name": TEXT, "arguments_json": JSON_TEXT})}
    ),
    st.fixed_dictionaries({"tool_result": st.fixed_dictionaries({"tool_call_id": TEXT, "content": TEXT})}),
    st.fixed_dictionaries({"tool_result": st.fixed_dictionaries({"name": TEXT, "failure": FAILURE})}),
)
OWNED_PART = st.tuples(PART, st.one_of(st.just({}), st.fixed_dictionaries({"provider_data": DATA}))).map(
    lambda both: both[0] | both[1]
)
MESSAGE = st.fixed_dictionaries(
    {"role": st.integers(0, 6)}, optional={"content": TEXT, "parts": st.lists(OWNED_PART, max_size=3)}
)
FUNCTION = st.fixed_dictionaries({"name": TEXT}, optional={"parameters_json": JSON_TEXT, "strict": st.booleans()})
TOOL = st.fixed_dictionaries({}, optional={"function": FUNCTION})
FORMAT = st.fixed_dictionaries({"type": st.integers(0, 5)}, optional={"schema_json": JSON_TEXT, "name": TEXT})
AGENT = st.fixed_dictionaries(
    {},
    optional={
        "model": TEXT,
        "provider": TEXT,
        "instructions": TEXT,
        "temperature": NUMBER,
        "top_p": NUMBER,
        "frequency_penalty": NUMBER,
        "max_tokens": INT,
        "seed": INT,
        "stop": st.lists(TEXT, max_size=3),
        "reasoning_effort": st.integers(0, 9),
        "tools": st.lists(TOOL, max_size=3),
        "tool_choice": st.one_of(
            st.fixed_dictionaries({"mode": st.integers(0, 5)}), st.fixed_dictionaries({"function": TEXT})
        ),
        "parallel_tool_calls": st.booleans(),
        "response_format": FORMAT,
        "unsupported_params": st.integers(0, 4),
        "timeouts": st.fixed_dictionaries({"first_chunk": DURATION}),
        "labels": st.dictionaries(TEXT, TEXT, max_size=3),
        "user": TEXT,
    },
)
REQUEST = st.fixed_dictionaries(
    {}, optional={"agent": AGENT, "prompt": TEXT, "messages": st.lists(MESSAGE, max_size=4)}
)


def taken(request: agent_service_pb2.StreamRequest, *keys: str) -> ParsedRequest | None:
    """The request as the domain has it; None when its bad fields were named."""
    try:
        return parse_stream_request(request, keys, True)
    except HeadwaterError as error:
        assert error.reason is Reason.INVALID_REQUEST
        assert all(v.field and v.description for v in error.violations)
        return None


def chat(parsed: ParsedRequest) -> ChatRequest:
    agent = parsed.agent
    return ChatRequest(
        agent.model,
        (Message(Role.SYSTEM, (Text(agent.instructions),)), *parsed.messages),
        sampling=agent.sampling,
        tools=agent.tools,
        tool_choice=agent.tool_choice,
        response_format=agent.response_format,
        user=agent.user,
    )


@given(REQUEST, st.lists(TEXT, max_size=2))
def test_a_request_is_taken_or_its_bad_fields_are_named(fields, keys):
    parsed = taken(agent_service_pb2.StreamRequest(**fields), *keys)
    for wire in WIRES if parsed else ():
        try:
            body = wire.call(only_data_of(chat(parsed), "openai", "a1")).body  # type: ignore[arg-type]
        except HeadwaterError as error:
            assert error.reason is Reason.INVALID_REQUEST
        else:
            msgspec.json.decode(msgspec.json.encode(body))


@given(AGENT)
def test_an_agent_that_is_taken_comes_back_as_the_same_agent(fields):
    bad: list[FieldViolation] = []
    agent = parse_agent(agent_pb2.AgentConfig(**fields), "agent", bad)
    if not bad:
        assert parse_agent(agent_message(agent), "agent", bad) == agent
        assert not bad


@given(st.binary(max_size=200))
def test_bytes_are_no_message_or_are_taken_or_refused(data):
    try:
        request = agent_service_pb2.StreamRequest.FromString(data)
    except DecodeError:
        return
    taken(request)
