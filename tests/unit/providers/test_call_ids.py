"""Ids of tool calls that a service would refuse: replaced in call and result, the same way in each request."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater_server.domain.messages import Message, ProviderData, ToolCall, ToolResult
from headwater_server.providers import call_ids
from headwater_server.providers.call_ids import shape_for_model, with_ids
from headwater_server.providers.openai.chat import OpenAIChatWire
from headwater_server.providers.openai.profiles import COMPATIBLE, PROFILES
from tests.support.upstream.decoding import decode
from tests.unit.providers.conversations import ask, assistant, tool_results, user

LONG = "call_" + "x" * 400
SHAPES = [call_ids.ANY, call_ids.OPENAI, call_ids.RESPONSES, call_ids.ANTHROPIC, call_ids.MISTRAL]


def round_of(*ids: str, name: str = "get_weather") -> tuple[Message, Message]:
    calls = [ToolCall(id, name, "{}") for id in ids]
    return assistant(*calls), tool_results(*(ToolResult(id, name, f"of {place}") for place, id in enumerate(ids)))


def ids_in(messages: tuple[Message, ...]) -> tuple[list[str], list[str]]:
    parts = [part for message in messages for part in message.parts]
    calls = [part.id for part in parts if isinstance(part, ToolCall)]
    return calls, [part.tool_call_id for part in parts if isinstance(part, ToolResult)]


@pytest.mark.parametrize(
    ("shape", "refused"),
    [
        (call_ids.ANY, ""),
        (call_ids.OPENAI, LONG),
        (call_ids.RESPONSES, LONG),
        (call_ids.ANTHROPIC, "functions.get_weather:0"),
        (call_ids.ANTHROPIC, "call_1|fc_2"),
        (call_ids.ANTHROPIC, LONG),
        (call_ids.ANTHROPIC, "toolu_1\n"),
        (call_ids.MISTRAL, "call_0a1b2c3d4e5f6a7b8c9d0e1f"),
        (call_ids.MISTRAL, "functions.get_weather:0"),
        (call_ids.MISTRAL, "ABCDEFGH"),
    ],
)
def test_an_id_that_is_refused_is_replaced_in_call_and_result(shape: re.Pattern[str], refused: str) -> None:
    calls, results = ids_in(with_ids(ask(user("?"), *round_of(refused)), shape).messages)
    assert calls == results
    assert shape.fullmatch(calls[0])


@pytest.mark.parametrize(
    ("shape", "id"),
    [
        (call_ids.ANY, "functions.get_weather:0"),
        (call_ids.OPENAI, "call_0a1b2c3d4e5f6a7b8c9d0e1f"),
        (call_ids.ANTHROPIC, "toolu_01A-b"),
        (call_ids.MISTRAL, "A1b2C3d4E"),
    ],
)
def test_an_id_that_fits_stays(shape: re.Pattern[str], id: str) -> None:
    assert ids_in(with_ids(ask(*round_of(id)), shape).messages) == ([id], [id])


def test_ids_that_share_their_beginning_stay_apart() -> None:
    calls, _ = ids_in(
        with_ids(ask(*round_of(LONG, LONG + "y", "tooluse_abc1", "tooluse_abc2")), call_ids.MISTRAL).messages
    )
    assert len(set(calls)) == 4


def test_ids_that_begin_again_with_each_reply_become_unique_and_the_results_follow_their_calls() -> None:
    messages = with_ids(ask(*round_of("call_0", "call_1"), *round_of("call_0", "call_1")), call_ids.OPENAI).messages
    calls, results = ids_in(messages)
    assert calls == results
    assert calls[:2] == ["call_0", "call_1"]
    assert len(set(calls)) == 4


def test_missing_ids_follow_the_names_or_else_the_order() -> None:
    asked = assistant(ToolCall("", "a", "{}"), ToolCall("", "b", "{}"), ToolCall("", "b", "{}"))
    answered = tool_results(ToolResult("", "b", "1"), ToolResult("", "a", "2"), ToolResult("", "", "3"))
    calls, results = ids_in(with_ids(ask(asked, answered), call_ids.ANTHROPIC).messages)
    assert results == [calls[1], calls[0], calls[2]]
    assert len(set(calls)) == 3


def test_a_result_gets_the_name_of_its_own_call() -> None:
    messages = with_ids(
        ask(
            *round_of("call_0", name="a"),
            assistant(ToolCall("call_0", "b", "{}")),
            tool_results(ToolResult("call_0", "", "x")),
        ),
        call_ids.ANY,
    ).messages
    assert [part.name for part in messages[-1].parts if isinstance(part, ToolResult)] == ["b"]


def test_calls_that_the_provider_made_keep_the_ids_that_it_gave() -> None:
    own = ToolCall("functions.get_weather:0", "get_weather", "{}", ProviderData("compat", "a-1", "{}"))
    foreign = ToolCall("call_1", "get_weather", "{}")
    calls, _ = ids_in(with_ids(ask(assistant(own, foreign)), call_ids.ANY, call_ids.MISTRAL).messages)
    assert calls[0] == own.id
    assert call_ids.MISTRAL.fullmatch(calls[1])


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        ("mistral-small-latest", call_ids.MISTRAL),
        ("mistralai/Devstral-2-123B", call_ids.MISTRAL),
        ("magistral-medium-2509", call_ids.MISTRAL),
        ("nvidia/Mixtral-8x22B", call_ids.MISTRAL),
        ("anthropic/claude-opus-5.5", call_ids.ANTHROPIC),
        ("gpt-5.4", None),
        ("moonshotai/kimi-k3@mistral", call_ids.ANY),
        ("google/gemini-3-flash", call_ids.ANY),
    ],
)
def test_the_model_tells_the_shape_whoever_serves_it(model: str, shape: re.Pattern[str] | None) -> None:
    assert shape_for_model(model) is shape


@given(st.lists(st.lists(st.sampled_from(["", "call_0", "call_1", "a b", "A1b2C3d4E", LONG]), max_size=4), max_size=5))
def test_any_conversation_has_unique_ids_of_the_shape_the_same_in_each_longer_one(rounds: list[list[str]]) -> None:
    messages = tuple(message for ids in rounds for message in round_of(*ids))
    for shape in SHAPES:
        calls, results = ids_in(with_ids(ask(user("?"), *messages), shape).messages)
        assert calls == results
        assert len(set(calls)) == len(calls)
        assert all(shape.fullmatch(id) for id in calls)
        shorter, _ = ids_in(with_ids(ask(user("?"), *messages[: len(messages) // 2]), shape).messages)
        assert calls[: len(shorter)] == shorter


def chat_ids(wire: OpenAIChatWire, model: str, call: ToolCall) -> tuple[str, str]:
    body = wire.call(ask(user("?"), assistant(call), tool_results(ToolResult(call.id, "", "x")), model=model)).body
    return body["messages"][1]["tool_calls"][0]["id"], body["messages"][2]["tool_call_id"]


@pytest.mark.parametrize(
    ("profile", "model", "id", "stays"),
    [
        ("mistral", "m", "call_1", False),
        ("azure", "m", LONG, False),
        ("openrouter", "mistralai/devstral-2", "call_1", False),
        ("openrouter", "anthropic/claude-opus-5.5", "functions.f:0", False),
        ("openrouter", "moonshotai/kimi-k3", "functions.f:0", True),
        ("deepseek", "deepseek-chat", "call_1", True),
        ("", "m", "call_1", False),
        ("", "kimi-k3", "functions.f:0", True),
    ],
)
def test_a_service_gets_ids_of_its_shape(profile: str, model: str, id: str, stays: bool) -> None:
    wire = OpenAIChatWire(genuine=False, profile=PROFILES.get(profile, COMPATIBLE))
    call, result = chat_ids(wire, model, ToolCall(id, "f", "{}"))
    assert call == result
    assert (call == id) is stays


def test_an_unknown_server_marks_its_calls_and_gets_its_own_ids_back() -> None:
    wire = OpenAIChatWire(genuine=False)
    piece = {"index": 0, "id": "functions.f:0", "function": {"name": "f", "arguments": "{}"}}
    line = b"data: " + json.dumps({"choices": [{"delta": {"tool_calls": [piece]}}]}).encode() + b"\n\n"
    [delta] = decode(wire.decoder("text/event-stream"), [line], close=False).deltas
    [made] = delta.tool_calls or ()
    assert made.provider_data is not None
    call = ToolCall(made.id, "f", "{}", ProviderData("compat", "a-1", made.provider_data))
    assert chat_ids(wire, "m", call) == ("functions.f:0", "functions.f:0")
