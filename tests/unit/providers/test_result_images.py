"""Images in the result of a tool, on every API: where it takes them, or else in a user message after the results."""

from __future__ import annotations

from typing import Any

import pytest

from headwater_server.domain.errors import HeadwaterError
from headwater_server.domain.messages import ChatRequest, Text, ToolCall, ToolResult
from headwater_server.providers.anthropic.wire import AnthropicWire
from headwater_server.providers.ollama.wire import OllamaWire
from headwater_server.providers.openai.chat import OpenAIChatWire
from headwater_server.providers.openai.responses import OpenAIResponsesWire
from tests.unit.providers.conversations import (
    PICTURE_URL,
    PIXEL,
    PIXEL_BASE64,
    ask,
    assistant,
    tool_results,
    user,
)

DATA_URL = f"data:image/png;base64,{PIXEL_BASE64}"
CALLS = (user("Look."), assistant(ToolCall("c1", "shoot", "{}"), ToolCall("c2", "now", "{}")))
SHOT = ToolResult("c1", "shoot", "before\nafter", parts=(Text("before"), PIXEL, Text("after")))
NOON = ToolResult("c2", "now", "noon")
IN_TEXT = "before\n[image 1], see the next message\nafter"
LABEL = "[image 1] of the result of shoot:"


def round_of(*more: Any) -> ChatRequest:
    return ask(*CALLS, tool_results(SHOT), tool_results(NOON), *more)


def sent(request: ChatRequest, wire: Any = None) -> list[dict[str, Any]]:
    """The messages for Chat Completions, or another API, after the calls."""
    body = (wire or OpenAIChatWire(genuine=True)).call(request).body
    items: list[dict[str, Any]] = body["messages"] if "messages" in body else body["input"]
    first = next(i for i, item in enumerate(items) if item.get("role") == "tool" or "output" in item)
    return items[first:]


def test_anthropic_takes_them_in_the_result() -> None:
    [message] = AnthropicWire().call(round_of()).body["messages"][2:]
    assert message["content"] == [
        {
            "type": "tool_result",
            "tool_use_id": "c1",
            "content": [
                {"type": "text", "text": "before"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL_BASE64}},
                {"type": "text", "text": "after"},
            ],
        },
        {"type": "tool_result", "tool_use_id": "c2", "content": "noon"},
    ]


def test_openais_responses_take_them_in_the_result() -> None:
    shot, noon = sent(round_of(), OpenAIResponsesWire(genuine=True))
    assert shot["output"] == [
        {"type": "input_text", "text": "before"},
        {"type": "input_image", "image_url": DATA_URL},
        {"type": "input_text", "text": "after"},
    ]
    assert noon["output"] == "noon"


def test_compatible_responses_get_them_after_the_results() -> None:
    shot, noon, shown = sent(round_of(), OpenAIResponsesWire(genuine=False))
    assert (shot["output"], noon["output"]) == (IN_TEXT, "noon")
    assert shown["content"] == [
        {"type": "input_text", "text": LABEL},
        {"type": "input_image", "image_url": DATA_URL},
    ]


def test_chat_completions_get_them_after_all_results_of_the_round() -> None:
    assert sent(round_of()) == [
        {"role": "tool", "tool_call_id": "c1", "content": IN_TEXT},
        {"role": "tool", "tool_call_id": "c2", "content": "noon"},
        {
            "role": "user",
            "content": [{"type": "text", "text": LABEL}, {"type": "image_url", "image_url": {"url": DATA_URL}}],
        },
    ]


def test_ollama_gets_them_after_all_results_of_the_round() -> None:
    assert sent(round_of(), OllamaWire()) == [
        {"role": "tool", "tool_name": "shoot", "content": IN_TEXT},
        {"role": "tool", "tool_name": "now", "content": "noon"},
        {"role": "user", "content": LABEL, "images": [PIXEL_BASE64]},
    ]


def test_they_join_the_users_message_after_the_results_so_that_roles_alternate() -> None:
    *_, last = sent(round_of(user("And now?")))
    assert [part["type"] for part in last["content"]] == ["text", "image_url", "text"]
    assert last["content"][-1]["text"] == "And now?"


def test_they_come_before_the_models_next_words() -> None:
    roles = [message["role"] for message in sent(round_of(assistant("I see."), user("And?")))]
    assert roles == ["tool", "tool", "user", "assistant", "user"]


def test_each_is_named_by_its_number_in_the_round() -> None:
    two = ToolResult("c1", "shoot", "", parts=(PIXEL, PICTURE_URL))
    first, _, shown = sent(ask(*CALLS, tool_results(two, NOON)))
    assert first["content"] == "[image 1], see the next message\n[image 2], see the next message"
    assert [part.get("text", "") for part in shown["content"]] == [LABEL, "", LABEL.replace("1", "2"), ""]


def test_ollama_refuses_one_by_url_by_its_field() -> None:
    with pytest.raises(HeadwaterError) as caught:
        OllamaWire().call(ask(*CALLS, tool_results(ToolResult("c1", "shoot", "", parts=(PICTURE_URL,)))))
    [violation] = caught.value.violations
    assert violation.field == "messages[2].parts[0].tool_result.parts[0].image.url"
