"""Requests with the same agent share its parts, so no wire may change them."""

from __future__ import annotations

from copy import deepcopy

import pytest

from headwater_server.domain.messages import (
    SAMPLING_PARAMS,
    ChatRequest,
    ResponseFormat,
    ResponseFormatType,
    Tool,
    ToolChoice,
    ToolChoiceMode,
)
from headwater_server.providers.anthropic.wire import AnthropicWire
from headwater_server.providers.base import Wire
from headwater_server.providers.gemini.wire import GeminiWire
from headwater_server.providers.http.site import _without
from headwater_server.providers.ollama.wire import OllamaWire
from headwater_server.providers.openai.chat import OpenAIChatWire
from headwater_server.providers.openai.profiles import PROFILES
from headwater_server.providers.openai.responses import OpenAIResponsesWire
from tests.unit.providers.conversations import system, user

SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {"a": {"type": ["string", "null"], "$ref": "#/$defs/x", "const": 1}, "b": {"anyOf": [{}, True]}},
    "$defs": {"x": {"type": "string", "format": "date", "examples": ["x"]}},
    "required": ["a"],
}
OPTIONS = {"stream_options": {"x": [1, {"y": 2}]}, "options": {"num_ctx": 1}, "tools": [{"type": "web_search"}]}
VALUES = {
    "temperature": 0.5, "max_tokens": 2000, "top_p": 0.5, "frequency_penalty": 1, "presence_penalty": 1,
    "stop": ["x"], "seed": 1, "reasoning_effort": "low", "parallel_tool_calls": False, "logprobs": 2,
}  # fmt: skip
WIRES: list[Wire] = [
    OpenAIChatWire(genuine=True),
    *(OpenAIChatWire(genuine=False, profile=profile) for profile in PROFILES.values()),
    OpenAIResponsesWire(genuine=True),
    AnthropicWire(),
    AnthropicWire(takes_drop=True),
    GeminiWire(),
    OllamaWire(),
]


def request(wire: Wire, model: str, *, has_format: bool) -> ChatRequest:
    supported = wire.supported_params(model)
    return ChatRequest(
        model,
        (system("Be brief."), user("Hi")),
        {name: VALUES[name] for name in SAMPLING_PARAMS if name in supported},
        (
            Tool("a", "", SCHEMA, strict=None if isinstance(wire, OllamaWire) else not has_format),
            Tool("b", "b", {"type": "object"}),
        ),
        ToolChoice(ToolChoiceMode.AUTO),
        ResponseFormat(ResponseFormatType.JSON_SCHEMA, SCHEMA, strict=True) if has_format else None,
        OPTIONS,
    )


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-5", "claude-opus-4-5", "gemini-2.5-pro", "mistral-large"])
@pytest.mark.parametrize("has_format", [False, True])
@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: f"{type(wire).__name__}")
def test_a_wire_leaves_the_parts_of_an_agent_as_they_are(wire, has_format, model):
    chat = request(wire, model, has_format=has_format)
    before = deepcopy(chat)
    body = wire.call(chat).body
    for path in ("tools", "stream_options.x", "options.num_ctx", "response_format.json_schema"):
        body = _without(body, path.split("."))
    assert chat == before
