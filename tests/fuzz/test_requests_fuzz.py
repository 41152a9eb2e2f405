"""Any bytes as a request: they are no message, or the request is taken, or its bad fields are named."""

from __future__ import annotations

import msgspec
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from headwater.v1 import agent_service_pb2
from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.domain.messages import ChatRequest
from headwater_server.providers.anthropic.wire import AnthropicWire
from headwater_server.providers.ollama.wire import OllamaWire
from headwater_server.providers.openai.chat import OpenAIChatWire
from headwater_server.providers.openai.responses import OpenAIResponsesWire
from headwater_server.streaming.live import Timeouts
from headwater_server.transport.convert.requests import parse_request

WIRES = (OpenAIChatWire(genuine=True), OpenAIResponsesWire(genuine=True), AnthropicWire(), OllamaWire())

TEXT = st.text(max_size=20)
JSON_TEXT = st.one_of(
    TEXT, st.sampled_from(['{"type":"object"}', "{}", "[1]", '{"a":1e999}', r'{"a":"\ud800"}', "null"])
)
NUMBER = st.floats(allow_nan=True, allow_infinity=True, width=64)
INT = st.integers(-(2**31), 2**31 - 1)
PART = st.one_of(
    st.fixed_dictionaries({}),
    st.fixed_dictionaries({"text": TEXT}),
    st.fixed_dictionaries({"image": st.fixed_dictionaries({}, optional={"url": TEXT, "media_type": TEXT})}),
    st.fixed_dictionaries({"image": st.fixed_dictionaries({"data": st.binary(max_size=9), "media_type": TEXT})}),
    st.fixed_dictionaries({"thinking": st.fixed_dictionaries({"text": TEXT, "signature": TEXT})}),
    st.fixed_dictionaries({"redacted_thinking": st.fixed_dictionaries({"data": TEXT})}),
    st.fixed_dictionaries({"tool_call": st.fixed_dictionaries({"id": TEXT, "name": TEXT, "arguments": JSON_TEXT})}),
    st.fixed_dictionaries({"tool_result": st.fixed_dictionaries({"tool_call_id": TEXT, "content": TEXT})}),
)
MESSAGE = st.fixed_dictionaries(
    {"role": st.integers(0, 6)}, optional={"content": TEXT, "parts": st.lists(PART, max_size=3)}
)
TOOL = st.fixed_dictionaries({"name": TEXT}, optional={"parameters": JSON_TEXT, "strict": st.booleans()})
FORMAT = st.fixed_dictionaries({"type": st.integers(0, 5)}, optional={"schema": JSON_TEXT, "name": TEXT})
REQUEST = st.fixed_dictionaries(
    {},
    optional={
        "model": TEXT,
        "provider": TEXT,
        "prompt": TEXT,
        "instructions": TEXT,
        "messages": st.lists(MESSAGE, max_size=4),
        "temperature": NUMBER,
        "top_p": NUMBER,
        "frequency_penalty": NUMBER,
        "max_tokens": INT,
        "seed": INT,
        "stop": st.lists(TEXT, max_size=3),
        "tools": st.lists(TOOL, max_size=3),
        "tool_choice": st.fixed_dictionaries({"mode": st.integers(0, 5), "name": TEXT}),
        "response_format": FORMAT,
        "unsupported_params": st.integers(0, 4),
        "timeouts": st.fixed_dictionaries({"first_chunk_ms": INT}),
        "api_key": TEXT,
    },
)


def taken(request: agent_service_pb2.StreamRequest) -> ChatRequest | None:
    """The request as the domain has it; None when its bad fields were named."""
    try:
        return parse_request(request, Timeouts(), True).request
    except HeadwaterError as error:
        assert error.reason is Reason.INVALID_REQUEST
        assert all(v.field and v.description for v in error.violations)
        return None


@given(REQUEST)
def test_a_request_is_taken_or_its_bad_fields_are_named(fields):
    chat = taken(agent_service_pb2.StreamRequest(**fields))
    for wire in WIRES if chat else ():
        try:
            body = wire.call(chat).body  # type: ignore[arg-type]
        except HeadwaterError as error:
            assert error.reason is Reason.INVALID_REQUEST
        else:
            msgspec.json.decode(msgspec.json.encode(body))


@given(st.binary(max_size=200))
def test_bytes_are_no_message_or_are_taken_or_refused(data):
    try:
        request = agent_service_pb2.StreamRequest.FromString(data)
    except DecodeError:
        return
    taken(request)
