"""The messages of a conversation that are kept, and those that are sent."""

from __future__ import annotations

import gc
import threading
from typing import Any

from headwater._call.history import History, Reply
from headwater._values.messages import to_messages
from headwater.v1 import agent_pb2
from headwater.v1.agent_pb2 import StreamChunk


def user(text: str) -> agent_pb2.ChatMessage:
    return agent_pb2.ChatMessage(role=agent_pb2.ROLE_USER, parts=[agent_pb2.Part(text=text)])


def assistant(text: str) -> agent_pb2.ChatMessage:
    return agent_pb2.ChatMessage(role=agent_pb2.ROLE_ASSISTANT, parts=[agent_pb2.Part(text=text)])


def talk(history: History, prompt: str, reply: str, *, interrupted: bool = False) -> None:
    exchange = history.begin(user(prompt))
    assert exchange is not None
    exchange.end([assistant(reply)], interrupted=interrupted)


def sends(history: History, prompt: str) -> list[str]:
    """The texts that a call with this prompt sends before it."""
    exchange = history.begin(user(prompt))
    return [part.text for message in exchange.messages for part in message.parts] if exchange else []


def test_a_call_sends_what_was_said_before_it() -> None:
    history = History(20)
    talk(history, "a", "A")
    talk(history, "b", "B")
    assert sends(history, "c") == ["a", "A", "b", "B"]


def test_a_call_sends_the_history_as_it_was_when_it_began() -> None:
    history = History(20)
    first, second = history.begin(user("a")), history.begin(user("b"))
    assert first is not None
    assert second is not None
    second.end([assistant("B")], interrupted=False)
    first.end([assistant("A")], interrupted=False)
    assert (list(first.messages), list(second.messages)) == ([], [])
    assert sends(history, "c") == ["b", "B", "a", "A"]


def test_the_last_messages_are_sent_from_a_question_on() -> None:
    history = History(5)
    for number in range(4):
        talk(history, f"q{number}", f"a{number}")
    assert sends(history, "c") == ["q2", "a2", "q3", "a3"]
    assert len(history.as_dicts()) == 4


def test_without_history_nothing_is_kept() -> None:
    history = History(0)
    assert history.begin(user("a")) is None
    assert history.as_dicts() == []


def test_a_history_of_one_message_sends_no_reply_without_its_question() -> None:
    history = History(1)
    talk(history, "a", "A")
    assert sends(history, "b") == []


def test_a_call_may_send_less_than_is_kept() -> None:
    history = History(20)
    for number in range(3):
        talk(history, f"q{number}", f"a{number}")
    exchange = history.begin(user("c"), 3)
    assert exchange is not None
    assert [message.parts[0].text for message in exchange.messages] == ["q2", "a2"]
    assert len(history.as_dicts()) == 6


def test_a_smaller_limit_forgets_what_is_older() -> None:
    history = History(20)
    for number in range(3):
        talk(history, f"q{number}", f"a{number}")
    history.set_limit(2)
    history.set_limit(20)
    assert sends(history, "c") == ["q2", "a2"]
    history.set_limit(0)
    history.set_limit(20)
    assert sends(history, "c") == []


def test_a_partial_reply_is_sent_with_another_prompt_and_marked() -> None:
    history = History(20)
    talk(history, "a", "A", interrupted=True)
    assert sends(history, "b") == ["a", "A"]
    assert history.as_dicts() == [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "A", "interrupted": True},
    ]


def test_a_retry_neither_sends_nor_keeps_the_partial_reply() -> None:
    history = History(20)
    talk(history, "a", "part", interrupted=True)
    assert sends(history, "a") == []
    talk(history, "a", "whole")
    assert sends(history, "b") == ["a", "whole"]


def test_a_retry_that_leaves_nothing_keeps_the_partial_reply() -> None:
    history = History(20)
    talk(history, "a", "part", interrupted=True)
    history.begin(user("a"))
    assert sends(history, "b") == ["a", "part"]


def test_a_retry_that_is_interrupted_too_replaces_the_partial_reply() -> None:
    history = History(20)
    talk(history, "a", "part", interrupted=True)
    talk(history, "a", "more", interrupted=True)
    assert sends(history, "b") == ["a", "more"]


def test_the_same_prompt_after_a_whole_reply_is_a_new_turn() -> None:
    history = History(20)
    talk(history, "a", "A")
    talk(history, "a", "B")
    assert sends(history, "c") == ["a", "A", "a", "B"]


def test_clearing_forgets_also_what_running_calls_would_add() -> None:
    history = History(20)
    talk(history, "a", "A")
    running = history.begin(user("b"))
    assert running is not None
    history.clear()
    running.end([assistant("B")], interrupted=False)
    assert history.as_dicts() == []


def test_a_turn_may_end_inside_any_statement_of_its_thread() -> None:
    """As `__del__` may: ending takes no lock."""
    history = History(20)
    exchange = history.begin(user("a"))
    assert exchange is not None
    with history._lock:
        ended = threading.Thread(target=exchange.end, args=([assistant("A")],), kwargs={"interrupted": True})
        ended.start()
        ended.join(5)
        assert not ended.is_alive()
    gc.collect()
    assert sends(history, "b") == ["a", "A"]


def reply_of(*chunks: StreamChunk) -> Reply:
    reply = Reply()
    for chunk in chunks:
        reply.add(chunk)
    return reply


def parts(message: agent_pb2.ChatMessage | None) -> list[tuple[str, Any]]:
    assert message is not None
    found = []
    for part in message.parts:
        kind = part.WhichOneof("kind")
        found.append((str(kind), getattr(part, str(kind))))
    return found


def test_the_parts_of_a_reply_keep_the_order_in_which_they_came() -> None:
    reply = reply_of(
        StreamChunk(thinking="Let me "),
        StreamChunk(thinking="see."),
        StreamChunk(thinking_signature="sig"),
        StreamChunk(redacted_thinking="data"),
        StreamChunk(content="I will "),
        StreamChunk(content="add."),
        StreamChunk(is_final=True),
    )
    assert parts(reply.message(interrupted=False)) == [
        ("thinking", agent_pb2.Thinking(text="Let me see.", signature="sig")),
        ("redacted_thinking", agent_pb2.RedactedThinking(data="data")),
        ("text", "I will add."),
    ]
    assert reply.text == "I will add."


def test_thinking_without_a_signature_is_not_kept() -> None:
    reply = reply_of(StreamChunk(thinking="Hm."), StreamChunk(content="Ye"), StreamChunk(content="s."))
    assert parts(reply.message(interrupted=False)) == [("text", "Yes.")]


def test_a_reply_that_ends_in_calls_is_the_message_that_the_server_made() -> None:
    call = agent_pb2.ToolCall(id="1", name="add", arguments_json="{}")
    data = agent_pb2.ProviderData(provider="gemini", account="a", data_json='{"thought_signature": "x"}')
    made = agent_pb2.ChatMessage(
        role=agent_pb2.ROLE_ASSISTANT,
        parts=[
            agent_pb2.Part(thinking=agent_pb2.Thinking(text="Let me see.", signature="sig")),
            agent_pb2.Part(text="I will add."),
            agent_pb2.Part(tool_call=call, provider_data=data),
            agent_pb2.Part(provider_data=data),
        ],
    )
    reply = reply_of(
        StreamChunk(thinking="Let me see."),
        StreamChunk(content="I will add."),
        StreamChunk(is_final=True, tool_calls=[call], message=made),
    )
    assert reply.message(interrupted=False) == made
    assert reply.text == "I will add."


def test_an_interrupted_reply_keeps_its_text_without_unfinished_calls() -> None:
    delta = agent_pb2.ToolCallDelta(index=0, name="add")
    reply = reply_of(StreamChunk(content="I will"), StreamChunk(tool_call_deltas=[delta]))
    assert parts(reply.message(interrupted=True)) == [("text", "I will")]


def test_a_reply_without_a_word_is_not_kept() -> None:
    assert Reply().message(interrupted=False) is None
    assert reply_of(StreamChunk(thinking="Hm.", thinking_signature="sig")).message(interrupted=True) is None


def test_the_words_of_a_refusal_are_kept() -> None:
    assert parts(reply_of(StreamChunk(refusal="I cannot.")).message(interrupted=False)) == [("text", "I cannot.")]


def test_what_a_provider_wants_back_is_kept_and_sent() -> None:
    history = History(20)
    data = agent_pb2.ProviderData(provider="openrouter", account="a", data_json="[1]")
    exchange = history.begin(user("a"))
    assert exchange is not None
    reply = agent_pb2.ChatMessage(
        role=agent_pb2.ROLE_ASSISTANT,
        parts=[agent_pb2.Part(text="A", provider_data=data), agent_pb2.Part(provider_data=data)],
    )
    exchange.end([reply], interrupted=False)
    again = history.begin(user("b"))
    assert again is not None
    assert again.messages[1] == reply
    shown = {"provider": "openrouter", "account": "a", "data_json": "[1]"}
    assert history.as_dicts()[1]["content"] == [
        {"type": "text", "text": "A", "provider_data": shown},
        {"type": "provider_data", "provider_data": shown},
    ]
    assert to_messages(history.as_dicts())[1] == reply


def test_a_tool_call_is_never_sent_without_its_result() -> None:
    history = History(20)
    call = agent_pb2.Part(tool_call=agent_pb2.ToolCall(id="1", name="add", arguments_json="{}"))
    talk(history, "a", "A")
    exchange = history.begin(user("b"))
    assert exchange is not None
    exchange.end([agent_pb2.ChatMessage(role=agent_pb2.ROLE_ASSISTANT, parts=[call])], interrupted=False)
    assert sends(history, "c") == ["a", "A"]
    exchange = history.begin(user("d"))
    assert exchange is not None
    said = agent_pb2.Part(text="Adding.")
    exchange.end([agent_pb2.ChatMessage(role=agent_pb2.ROLE_ASSISTANT, parts=[said, call])], interrupted=False)
    assert sends(history, "e") == ["a", "A", "d", "Adding."]


def called(name: str, text: str = "") -> agent_pb2.ChatMessage:
    parts = [agent_pb2.Part(text=text)] if text else []
    call = agent_pb2.Part(tool_call=agent_pb2.ToolCall(id=name, name=name, arguments_json="{}"))
    return agent_pb2.ChatMessage(role=agent_pb2.ROLE_ASSISTANT, parts=[*parts, call])


def told(name: str, content: str) -> agent_pb2.ChatMessage:
    result = agent_pb2.ToolResult(tool_call_id=name, name=name, content=content)
    return agent_pb2.ChatMessage(role=agent_pb2.ROLE_TOOL, parts=[agent_pb2.Part(tool_result=result)])


def talk_with_tools(history: History, prompt: str, *reply: agent_pb2.ChatMessage, interrupted: bool = False) -> None:
    exchange = history.begin(user(prompt))
    assert exchange is not None
    exchange.end(reply, interrupted=interrupted)


def outline(history: History, limit: int | None = None) -> list[str]:
    """The messages that a call sends: u for the user, c for calls, r for results, a for words, in order."""
    exchange = history.begin(user("next"), limit)
    assert exchange is not None
    kinds = {"text": "a", "tool_call": "c", "tool_result": "r"}
    return [
        "u" if message.role == agent_pb2.ROLE_USER else kinds[str(message.parts[-1].WhichOneof("kind"))]
        for message in exchange.messages
    ]


def test_an_exchange_with_tools_is_kept_whole() -> None:
    history = History(20)
    talk_with_tools(history, "a", called("x"), told("x", "1"), called("y"), told("y", "2"), assistant("A"))
    talk(history, "b", "B")
    assert outline(history) == ["u", "c", "r", "c", "r", "a", "u", "a"]
    assert [message["role"] for message in history.as_dicts()][:3] == ["user", "assistant", "tool"]


def test_all_messages_of_an_exchange_count_and_it_is_dropped_whole() -> None:
    history = History(6)
    talk_with_tools(history, "a", called("x"), told("x", "1"), assistant("A"))
    talk(history, "b", "B")
    assert outline(history) == ["u", "c", "r", "a", "u", "a"]
    assert outline(history, 5) == ["u", "a"]
    talk(history, "c", "C")
    assert outline(history) == ["u", "a", "u", "a"]


def test_the_last_exchange_is_kept_in_short_when_it_is_too_long_by_itself() -> None:
    history = History(4)
    talk(history, "z", "Z")
    talk_with_tools(
        history, "a", called("x", "One."), told("x", "1"), called("y", "Two."), told("y", "2"), assistant("A")
    )
    assert sends(history, "c") == ["a", "One.", "Two.", "A"]
    assert outline(history) == ["u", "a"]
    assert len(history.as_dicts()) == 2
    talk_with_tools(history, "b", called("x"), told("x", "1"), assistant("B"))
    assert outline(history) == ["u", "c", "r", "a"]
    assert outline(history, 2) == ["u", "a"]
    assert sends(history, "c")[-1] == "B"
    assert outline(history, 1) == []


def test_results_to_which_the_model_said_nothing_are_not_sent() -> None:
    history = History(20)
    talk_with_tools(history, "a", called("x", "Wait."), told("x", "1"), interrupted=True)
    assert sends(history, "c") == ["a", "Wait."]
    talk_with_tools(history, "b", called("x"), told("x", "1"), called("y"), interrupted=False)
    assert sends(history, "c") == ["a", "Wait."]
