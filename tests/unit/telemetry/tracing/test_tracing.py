"""Whether traces are made, the names that continue one, and the parts of a conversation that they may hold."""

from __future__ import annotations

import json
import sys

import pytest
from structlog.testing import capture_logs

from headwater_server.config.settings import ServerSettings
from headwater_server.domain.call_origin import is_traceparent, origin_of
from headwater_server.domain.chunks import FinalChunk, Finish, FinishReason, StreamStats
from headwater_server.domain.messages import (
    ChatRequest,
    Image,
    Message,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)
from headwater_server.telemetry.tracing import content
from headwater_server.telemetry.tracing.content import MAX_CHARACTERS, prompt_attributes, reply_attributes
from headwater_server.telemetry.tracing.opening import NoOpenTelemetryError, is_wanted, tracing

GOOD = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
COLLECTOR = "http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("endpoint", "environment", "wanted"),
    [
        ("", {}, False),
        (COLLECTOR, {}, True),
        ("", {"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR}, True),
        ("", {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": COLLECTOR}, True),
        ("", {"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ("", {"OTEL_TRACES_EXPORTER": "console, otlp"}, True),
        ("", {"OTEL_EXPORTER_OTLP_HEADERS": "a=b"}, False),
        (COLLECTOR, {"OTEL_TRACES_EXPORTER": "none"}, False),
        (COLLECTOR, {"OTEL_TRACES_EXPORTER": "console"}, False),
        (COLLECTOR, {"OTEL_SDK_DISABLED": "True"}, False),
        (COLLECTOR, {"OTEL_SDK_DISABLED": "false"}, True),
    ],
)
def test_traces_are_made_where_an_exporter_is_configured(endpoint, environment, wanted):
    assert is_wanted(endpoint, environment) is wanted


async def test_without_the_packages_the_setting_is_a_mistake_and_a_variable_a_warning(monkeypatch):
    monkeypatch.setitem(sys.modules, "headwater_server.telemetry.tracing.exporting", None)
    with pytest.raises(NoOpenTelemetryError, match=r"pip install '.\[otel\]'"):
        async with tracing(COLLECTOR, "1", 0, has_content=False):
            pass
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", COLLECTOR)
    with capture_logs() as lines:
        async with tracing("", "1", 0, has_content=False) as tracer:
            assert tracer is None
    assert [(line["event"], line["log_level"]) for line in lines] == [("no traces", "warning")]


async def test_another_protocol_of_the_variables_is_not_spoken_and_said(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with capture_logs() as lines:
        async with tracing(COLLECTOR, "1", 0, has_content=False) as tracer:
            assert tracer is not None
    assert [(line["event"], line["log_level"]) for line in lines] == [("traces", "warning")]


@pytest.mark.parametrize("url", ["127.0.0.1:4318", "grpc://box:4317", "http://", "http://name:secret@box:4318"])
def test_an_endpoint_that_is_no_url_of_a_collector_is_refused(url):
    with pytest.raises(ValueError, match="must") as refused:
        ServerSettings(otlp_endpoint=url)
    assert "secret@" not in str(refused.value.errors()[0]["msg"])


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (GOOD, True),
        (GOOD[:-2] + "03", True),
        ("cc" + GOOD[2:], True),
        ("cc" + GOOD[2:] + "-what-comes-later", True),
        (GOOD + "-more", False),
        ("ff" + GOOD[2:], False),
        (GOOD.upper(), False),
        (GOOD[:-1], False),
        (" " + GOOD, False),
        (GOOD + "\n", False),
        ("", False),
        ("00-" + "0" * 32 + GOOD[35:], False),
        (GOOD[:36] + "0" * 16 + "-01", False),
    ],
)
def test_a_traceparent_is_read_by_the_letter(text, names):
    assert is_traceparent(text) is names
    found = origin_of([("traceparent", text), ("tracestate", "a=b"), ("x-request-id", "r")])
    assert found == ({"traceparent": text, "tracestate": "a=b"} if names else {}) | {"x-request-id": "r"}


def test_a_conversation_is_told_by_the_conventions_without_images_and_without_the_providers_data():
    call = ToolCall("call_1", "get_weather", '{"city": "Oslo"}')
    messages = (
        Message(Role.SYSTEM, (Text("Be brief."),)),
        Message(Role.USER, (Text("Weather?"), Image(b"\x89PNG", "image/png"))),
        Message(Role.ASSISTANT, (Thinking("hm", "signature"), call)),
        Message(Role.TOOL, (ToolResult("call_1", "get_weather", "sunny"),)),
    )
    tools = (Tool("get_weather", "The weather.", {"type": "object"}),)
    found = dict(prompt_attributes(ChatRequest("m", messages, tools=tools, api_key="sk-secret")))
    assert {name: json.loads(text) for name, text in found.items()} == {
        "gen_ai.system_instructions": [{"type": "text", "content": "Be brief."}],
        "gen_ai.input.messages": [
            {
                "role": "user",
                "parts": [{"type": "text", "content": "Weather?"}, {"type": "image", "mime_type": "image/png"}],
            },
            {
                "role": "assistant",
                "parts": [
                    {"type": "reasoning", "content": "hm"},
                    {"type": "tool_call", "id": "call_1", "name": "get_weather", "arguments": '{"city": "Oslo"}'},
                ],
            },
            {"role": "tool", "parts": [{"type": "tool_call_response", "id": "call_1", "response": "sunny"}]},
        ],
        "gen_ai.tool.definitions": [{"type": "function", "name": "get_weather", "description": "The weather."}],
    }


def test_the_texts_of_an_attribute_are_bounded_together():
    half = "x" * (MAX_CHARACTERS // 2)
    messages = tuple(Message(Role.USER, (Text(half + f"{i}"),)) for i in range(4))
    (found,) = dict(prompt_attributes(ChatRequest("m", messages))).values()
    texts = [message["parts"][0]["content"] for message in json.loads(found)]
    assert sum(map(len, texts)) == MAX_CHARACTERS + 3 * len(content.CUT)


def test_a_reply_that_was_not_collected_has_its_calls():
    final = FinalChunk(
        1, 0.0, Finish(FinishReason.TOOL_CALLS), StreamStats(None, 0, 0, None), [ToolCall("c", "t", "{}")]
    )
    (found,) = dict(reply_attributes(final)).values()
    (message,) = json.loads(found)
    assert message["finish_reason"] == "tool_calls"
    assert message["parts"] == [{"type": "tool_call", "id": "c", "name": "t", "arguments": "{}"}]
