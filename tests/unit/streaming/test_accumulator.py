"""The assistant message of a reply: complete, in order, bounded, and only where it is wanted."""

from __future__ import annotations

import pytest

from headwater_server.domain.chunks import Delta, ToolCallDelta
from headwater_server.domain.messages import (
    Message,
    Opaque,
    Part,
    ProviderData,
    RedactedThinking,
    Role,
    Text,
    Thinking,
    ToolCall,
)
from headwater_server.streaming.accumulator import Account, MessageAccumulator, ToolCallAccumulator

ACCOUNT = Account("openai", "a1")


def data(text: str) -> ProviderData:
    return ProviderData("openai", "a1", text)


def collected(*deltas: Delta, from_start: bool = True) -> tuple[Part, ...]:
    """The parts of the message that these deltas make."""
    message, calls = MessageAccumulator(ACCOUNT, from_start=from_start), ToolCallAccumulator(ACCOUNT)
    for delta in deltas:
        calls.add(delta.tool_calls or ())
        if message.collecting or delta.tool_calls:
            message.add(delta)
    complete = message.complete(calls.complete())
    if complete is None:
        return ()
    assert complete == Message(Role.ASSISTANT, complete.parts)
    return complete.parts


def test_a_reply_of_blocks_keeps_them_apart_and_in_order():
    assert collected(
        Delta(thinking="Let me ", block=0),
        Delta(thinking="see.", block=0),
        Delta(thinking_signature="sig", block=0),
        Delta(redacted_thinking="enc", block=1),
        Delta(content="One", block=2),
        Delta(content=" text.", block=2),
        Delta(content="Another.", block=3),
        Delta(tool_calls=[ToolCallDelta(0, "c1", "f")], block=4),
        Delta(tool_calls=[ToolCallDelta(0, arguments="{}")], block=4),
    ) == (
        Thinking("Let me see.", "sig"),
        RedactedThinking("enc"),
        Text("One text."),
        Text("Another."),
        ToolCall("c1", "f", "{}"),
    )


def test_text_without_blocks_is_one_part_though_thinking_comes_between():
    deltas = [Delta(thinking="a"), Delta(content="x"), Delta(thinking="b"), Delta(content="y")]
    assert collected(*deltas) == (Thinking("ab", ""), Text("xy"))


def test_a_signature_without_text_is_thinking_too():
    assert collected(Delta(thinking_signature="sig", block=1)) == (Thinking("", "sig"),)


def test_what_the_provider_wants_back_stays_where_it_came():
    assert collected(
        Delta(thinking="hm", provider_data="1"),
        Delta(thinking=".", provider_data="1"),
        Delta(provider_data="2"),
        Delta(content="Yes."),
        Delta(tool_calls=[ToolCallDelta(0, "c1", "f", "{}", provider_data="3")]),
        Delta(provider_data="4"),
        Delta(tool_calls=[ToolCallDelta(1, "c2", "f", "{}")]),
    ) == (
        Thinking("hm.", "", data("1")),
        Opaque(data("2")),
        Text("Yes."),
        ToolCall("c1", "f", "{}", data("3")),
        Opaque(data("4")),
        ToolCall("c2", "f", "{}"),
    )


def test_words_of_a_refusal_are_no_part():
    assert collected(Delta(refusal="no")) == ()


def test_nothing_is_collected_before_a_call_that_nobody_allowed():
    call = Delta(content="now", tool_calls=[ToolCallDelta(0, "c1", "f", "{}")])
    assert collected(Delta(content="lost"), call, Delta(content=" and then"), from_start=False) == (
        Text("now and then"),
        ToolCall("c1", "f", "{}"),
    )
    assert collected(Delta(content="text"), from_start=False) == ()


@pytest.mark.parametrize("field", ["content", "thinking", "thinking_signature", "redacted_thinking", "provider_data"])
def test_what_fits_into_no_message_is_not_kept(field):
    message = MessageAccumulator(ACCOUNT, from_start=True)
    for number in range(4):
        message.add(Delta(**{field: str(number) * 1024 * 1024}))
    assert message.overflowed
    assert not message.collecting
    message.add(Delta(content="more", tool_calls=[ToolCallDelta(0, "c1", "f")]))
    assert message.complete([ToolCall("c1", "f", "{}")]) is None


def test_a_mark_that_every_piece_of_thinking_repeats_counts_once():
    message = MessageAccumulator(ACCOUNT, from_start=True)
    for _ in range(200_000):
        message.add(Delta(thinking="x", provider_data='{"field":"reasoning_content"}'))
    assert not message.overflowed
