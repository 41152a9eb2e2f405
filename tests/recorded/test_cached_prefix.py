"""A provider's cache finds a conversation again: each request begins with the bytes of the one before it."""

from __future__ import annotations

from itertools import product
from typing import Any

import msgspec
import pytest

from headwater_server.domain.errors import HeadwaterError
from headwater_server.domain.messages import ChatRequest, Message, ToolResult
from headwater_server.providers.anthropic.wire import AnthropicWire
from headwater_server.providers.base import Wire
from headwater_server.providers.gemini.wire import GeminiWire
from headwater_server.providers.ollama.wire import OllamaWire
from headwater_server.providers.openai.chat import OpenAIChatWire
from headwater_server.providers.openai.responses import OpenAIResponsesWire
from headwater_server.streaming.accumulator import Account, MessageAccumulator, ToolCallAccumulator
from tests.support.upstream.decoding import decode
from tests.support.upstream.fixtures import Fixture, load_field, load_fixtures, load_gemini
from tests.unit.providers.conversations import WEATHER, ask, system, tool_results, user

ACCOUNT = Account("p", "a-1")
WIRES: dict[str, list[Wire]] = {
    "/v1/chat/completions": [OpenAIChatWire(genuine=False), OpenAIChatWire(genuine=True)],
    "/v1/responses": [OpenAIResponsesWire(genuine=True)],
    "/v1/messages": [AnthropicWire(), AnthropicWire(takes_drop=True)],
    "/api/chat": [OllamaWire()],
    "streamGenerateContent": [GeminiWire()],
}
ANSWERS = {
    f"{folder}/{name}": fixture
    for folder, fixtures in (("fixtures", load_fixtures()), ("field", load_field()), ("gemini", load_gemini()))
    for name, fixture in fixtures.items()
    if fixture.about.get("status") == 200 and fixture.body
}


def wires_of(fixture: Fixture) -> list[Wire]:
    endpoint = str(fixture.about.get("endpoint", "streamGenerateContent"))
    return next((wires for path, wires in WIRES.items() if path in endpoint), [])


def reply_to(wire: Wire, fixture: Fixture) -> tuple[Message, ...]:
    """The messages that the answer adds to the conversation, with results where it has calls."""
    outcome = decode(wire.decoder(fixture.content_type), [fixture.body], close=fixture.ends_clean)
    if outcome.error is not None or outcome.finish is None:
        return ()
    message, calls = MessageAccumulator(ACCOUNT, from_start=True), ToolCallAccumulator(ACCOUNT)
    for delta in outcome.deltas:
        message.add(delta)
        calls.add(delta.tool_calls or ())
    made = calls.complete()
    complete = message.complete(made)
    results = [ToolResult(call.id, call.name, f"result {number}") for number, call in enumerate(made)]
    return () if complete is None else (complete, *([tool_results(*results)] if results else []))


def prefix(wire: Wire, request: ChatRequest) -> tuple[bytes, bytes]:
    """All that stands before the conversation, and the conversation without the brackets at its end."""
    body: dict[str, Any] = dict(wire.call(request).body)
    [key] = [key for key in ("messages", "input", "contents") if key in body]
    conversation = msgspec.json.encode(body.pop(key))
    return msgspec.json.encode(body), conversation.rstrip(b'"]}')


@pytest.mark.parametrize("name", [name for name, fixture in ANSWERS.items() if wires_of(fixture)])
def test_each_request_begins_with_the_bytes_of_the_one_before(name: str) -> None:
    for wire, model in product(wires_of(ANSWERS[name]), ("a-model", "claude-opus-5", "gpt-5.5")):
        turn = reply_to(wire, ANSWERS[name])
        messages: tuple[Message, ...] = (system("Be brief."), user("Weather?"))
        before: tuple[bytes, bytes] | None = None
        for more in (turn, turn, (user("And now?"),), turn, (user("And then?"),)):
            try:
                after = prefix(wire, ask(*messages, model=model, tools=(WEATHER,)))
            except HeadwaterError as error:
                assert "arguments_json" in error.message, "a call that was cut has no arguments to send"
                break
            if before is not None:
                assert after[0] == before[0]
                assert after[1].startswith(before[1])
            before, messages = after, (*messages, *more)
