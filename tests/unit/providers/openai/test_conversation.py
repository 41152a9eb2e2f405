"""The conversation as servers take it: OpenAI's own in any order, others in the order that chat templates want."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from headwater_server.domain.messages import CacheHint, Image, Message, Role, Text, ToolCall, ToolResult
from headwater_server.providers.openai.chat import OpenAIChatWire
from headwater_server.providers.openai.conversation import conversation
from headwater_server.providers.openai.profiles import COMPATIBLE, PROFILES
from tests.unit.providers.conversations import PIXEL, ask, assistant, system, user

CALL = ToolCall("c1", "f", "{}")
RESULT = Message(Role.TOOL, (ToolResult("c1", "", "18"),))
CALLED = {"role": "assistant", "content": None, "tool_calls": [
    {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
]}  # fmt: skip


def strict(*messages: Message, names_results: bool = False) -> list[dict[str, Any]]:
    return conversation(ask(*messages), strict=True, names_results=names_results)


def loose(*messages: Message) -> list[dict[str, Any]]:
    return conversation(ask(*messages), strict=False)


def test_several_system_messages_become_one_that_stands_first():
    sent = strict(system("Be brief."), user("Hi"), system("You are a pilot."), system(" "), assistant(Text("Yes?")))
    assert sent == [
        {"role": "system", "content": "Be brief.\n\nYou are a pilot."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Yes?"},
    ]


def test_openai_itself_gets_the_messages_as_they_are():
    sent = loose(system("a"), user("b"), user("c"), system("d"))
    assert [(item["role"], item["content"]) for item in sent] == [
        ("system", "a"), ("user", "b"), ("user", "c"), ("system", "d"),
    ]  # fmt: skip


def test_messages_of_one_speaker_that_follow_each_other_become_one():
    sent = strict(user("a"), user("b"), assistant(Text("c")), assistant(Text("d")), user("e"))
    assert [item["content"] for item in sent] == ["a\n\nb", "c\n\nd", "e"]


def test_an_image_keeps_its_place_when_messages_are_joined():
    image = Message(Role.USER, (Image(url="https://a.example/b.png"),))
    [sent] = strict(user("a"), image, user("b"))
    assert [part["type"] for part in sent["content"]] == ["text", "image_url", "text"]


def test_an_assistant_turn_of_white_space_is_left_out():
    assert strict(user("a"), assistant(Text("\n\n")), user("b")) == [{"role": "user", "content": "a\n\nb"}]


def test_calls_and_their_results_are_never_joined():
    sent = strict(user("a"), assistant(Text("b")), assistant(CALL), RESULT, RESULT, user("c"))
    assert [item["role"] for item in sent] == ["user", "assistant", "assistant", "tool", "tool", "user"]


@pytest.mark.parametrize("send", [strict, loose])
def test_a_message_with_calls_and_no_text_has_the_key_content(send):
    assert send(user("a"), assistant(CALL), RESULT)[1] == CALLED


def test_a_result_has_the_name_of_its_tool_for_servers_that_want_it():
    named = strict(user("a"), assistant(CALL), RESULT, names_results=True)[2]
    assert named == {"role": "tool", "tool_call_id": "c1", "content": "18", "name": "f"}
    assert "name" not in strict(user("a"), assistant(CALL), RESULT)[2]


def cached(message: Message) -> Message:
    return replace(message, cache=CacheHint())


def test_hints_to_keep_the_prompt_become_marks_on_the_last_text_where_they_are_taken():
    messages = (
        cached(system("Long.")),
        system("Short."),
        user("a"),
        cached(user(PIXEL, "b", PIXEL)),
        cached(assistant(CALL)),
    )
    request = ask(*messages, cached(RESULT), user("c"))
    mark = {"cache_control": {"type": "ephemeral"}}
    instructions, _, pictures, call, result, last = conversation(request, strict=True, cache_marks=True)
    assert instructions["content"] == [{"type": "text", "text": "Long.\n\nShort."} | mark]
    assert [part.get("cache_control") for part in pictures["content"]] == [None, mark["cache_control"], None]
    assert call["content"] is None
    assert result["content"][-1] == {"type": "text", "text": "18"} | mark
    assert last == {"role": "user", "content": "c"}
    assert "cache_control" not in str(conversation(request, strict=True))
    assert "cache_control" not in str(call)


ANSWERED = (user("a"), assistant(CALL), RESULT)


def sent_to(profile: str, model: str, *messages: Message) -> list[dict[str, Any]]:
    wire = OpenAIChatWire(genuine=False, profile=PROFILES.get(profile, COMPATIBLE))
    return list(wire.call(ask(*messages, model=model)).body["messages"])


@pytest.mark.parametrize(
    ("profile", "model", "wanted"),
    [
        ("deepseek", "m", True),
        ("", "kimi-k3", True),
        ("", "deepseek-ai/DeepSeek-V4", True),
        ("", "m", False),
        ("openrouter", "deepseek/deepseek-v4", False),
        ("vllm", "deepseek-ai/DeepSeek-V4", False),
    ],
)
def test_replies_without_thinking_have_a_blank_where_thinking_is_wanted(profile: str, model: str, wanted: bool):
    sent = sent_to(profile, model, *ANSWERED, assistant("Yes."), user("b"))
    replies = [message.get("reasoning_content") for message in sent if message["role"] == "assistant"]
    assert replies == [" " if wanted else None] * 2


@pytest.mark.parametrize(
    ("profile", "model", "wanted"),
    [("mistral", "m", True), ("vllm", "mistralai/Devstral-2", True), ("", "m", False)],
)
def test_a_reply_stands_between_results_and_a_question_where_it_is_wanted(profile: str, model: str, wanted: bool):
    roles = [message["role"] for message in sent_to(profile, model, *ANSWERED, user("b"))]
    assert roles == ["user", "assistant", "tool", *(["assistant"] if wanted else []), "user"]
    assert [message["role"] for message in sent_to(profile, model, *ANSWERED)] == ["user", "assistant", "tool"]


def test_a_reply_to_be_continued_is_marked_for_mistral_alone():
    assert sent_to("mistral", "m", user("a"), assistant("b"))[-1] == {
        "role": "assistant",
        "content": "b",
        "prefix": True,
    }
    assert sent_to("vllm", "m", user("a"), assistant("b"))[-1] == {"role": "assistant", "content": "b"}
