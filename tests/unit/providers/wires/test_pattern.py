"""Events that are written like the one before them: they are read without parsing, and read the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headwater_server.domain.chunks import Delta, ProviderEvent
from headwater_server.domain.errors import HeadwaterError
from headwater_server.providers.anthropic.decoder import MessagesDecoder
from headwater_server.providers.openai.chat_decoder import ChatDecoder
from headwater_server.providers.wires import decoder as decoders
from headwater_server.providers.wires.decoder import EventDecoder
from headwater_server.providers.wires.events.pattern import TextPattern
from headwater_server.providers.wires.json import JSONShape


def chat_event(text: str, *, escaped: bool = False, **more: Any) -> bytes:
    value = {
        "id": "7",
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": {"content": text}}],
        **more,
    }
    return b"data: %b\n\n" % json.dumps(value, ensure_ascii=escaped).encode("utf-8", "surrogatepass")


def messages_event(text: str, *, escaped: bool = False, index: int = 0, **more: Any) -> bytes:
    said = {"type": "text_delta", "text": text, **more}
    value = {"type": "content_block_delta", "index": index, "delta": said}
    data = json.dumps(value, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
    return b"event: content_block_delta\ndata: %b\n\n" % data


WIRES = {"chat": (ChatDecoder, chat_event), "messages": (MessagesDecoder, messages_event)}
WORDS = [
    "a",
    "Hi",
    "content",
    "text",
    "7",
    ",",
    ":",
    "}",
    "{",
    '"',
    "\\",
    "\n",
    "\r",
    "\x00",
    "\u2028",
    "\u00e9",
    "\ud83d",
]
TEXTS = st.one_of(
    st.sampled_from(WORDS), st.lists(st.sampled_from(WORDS), max_size=4).map("".join), st.text(max_size=5)
)
OTHERS = [
    b": a comment\n\n",
    b"data: a\n",
    b"event: other\n",
    b"da",
    b"\n",
    b"data: [DONE]\n\n",
    b'data: {"choices":[{"index":1,"delta":{"content":"x"}}]}\n\n',
    b'data: {"id":"7","choices":[],"usage":{"prompt_tokens":1}}\n\n',
    b'data: {"error":{"message":"no"}}\n\n',
    b'{"id":"7"}\n',
    b"data: {",
    b"\xff",
]


def read(decoder: EventDecoder, pieces: list[bytes]) -> tuple[list[ProviderEvent], str]:
    events: list[ProviderEvent] = []
    try:
        for piece in pieces:
            decoder.feed(piece, events)
        decoder.close(events)
    except HeadwaterError as error:
        return events, str(error)
    return events, ""


def test_an_event_like_the_one_before_is_not_parsed(monkeypatch):
    for make, event in WIRES.values():
        decoder, events = make("text/event-stream"), []
        decoder.feed(event("one"), events)
        with monkeypatch.context() as patched:
            patched.delattr(JSONShape, "decode")
            decoder.feed(event("two"), events)
        decoder.feed(event("three", other=1), events)
        assert [each.content for each in events] == ["one", "two", "three"]
        assert {(each.event_type, each.block) for each in events} == {(events[0].event_type, events[0].block)}


PARTS = st.one_of(
    st.tuples(TEXTS, st.booleans(), st.sampled_from([{}, {}, {}, {"signature": "s"}, {"usage": None}])),
    st.sampled_from(OTHERS),
)
A, B = ("a", False, {}), ("b", False, {})


@pytest.mark.parametrize("wire", WIRES)
@given(st.lists(st.one_of(PARTS.map(lambda part: [part]), st.lists(PARTS, max_size=3)), max_size=8))
@example([[A], [B], [b"da"], [A]])
@example([[A], [b"event: other\n"], [B], [A]])
@example([[A], [A, B], [A, A], [B]])
@example([[A], [B, b"da"], [A, b"da"], [b"\n\n"], [B]])
@example([[(",", False, {})], [B], [(",", False, {})]])
def test_it_says_what_it_says_without_a_pattern(wire, reads):
    make, event = WIRES[wire]
    pieces = [
        b"".join(part if isinstance(part, bytes) else event(part[0], escaped=part[1], **part[2]) for part in parts)
        for parts in reads
    ]
    plain = make("text/event-stream")
    plain._misses = decoders.MOST_MISSES
    assert read(make("text/event-stream"), pieces) == read(plain, pieces)


def data_of(event: bytes) -> bytes:
    return event.partition(b"data: ")[2].strip()


def like(event: bytes, data: bytes) -> bytes:
    return event.replace(data_of(event), data)


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("around", [b"%b%b", b"[%b,%b]"])
def test_an_event_with_several_objects_is_no_pattern_of_the_last_one(wire, around):
    make, event = WIRES[wire]
    pieces = [like(event("a"), around % (data_of(event("a")), data_of(event(last)))) for last in ("b", "c")]
    events, _ = read(make("text/event-stream"), pieces)
    assert "".join(each.content for each in events if isinstance(each, Delta)) == "abac"


@pytest.mark.parametrize(("before", "cut"), [(b" ", 0), (b"\0", 0), (b"", 2)])
def test_what_only_the_beginning_of_a_body_may_have_is_in_no_pattern(before, cut):
    event = chat_event("a")
    pieces = [event[:cut], before + event[cut:], before + chat_event("b")[cut:]]
    plain = ChatDecoder("text/event-stream")
    plain._misses = decoders.MOST_MISSES
    assert read(ChatDecoder("text/event-stream"), pieces) == read(plain, pieces)


def test_a_text_that_is_joined_of_parts_is_looked_for_nowhere_else():
    pieces = [
        like(
            messages_event(""),
            b'{"type":"content_block_delta","id":"%b","index":0,"delta":{"text":["a","b"]}}' % id,
        )
        for id in (b"ab", b"cd")
    ]
    events, _ = read(MessagesDecoder("text/event-stream"), pieces)
    assert [each.content for each in events if isinstance(each, Delta)] == ["ab", "ab"]


def pattern_of(text: str, event: Callable[..., bytes] = chat_event) -> TextPattern:
    pattern = TextPattern.of(event(text), text)
    assert pattern is not None
    return pattern


@pytest.mark.parametrize("text", ["content", "7", "\n", '"', "\\"])
def test_no_pattern_is_kept_where_it_is_not_certain_what_the_text_is(text):
    assert TextPattern.of(chat_event(text), text) is None


def test_a_text_that_is_escaped_elsewhere_is_not_taken_for_another():
    event = b'data: {"user":"A","choices":[{"index":0,"delta":{"content":"\\u0041"}}]}\n\n'
    assert TextPattern.of(event, "A") is None


@pytest.mark.parametrize("text", ["", '"', "\\", "\n", "\x00", "\x7f", "\u2028", '","role":"x'])
def test_a_text_that_is_no_plain_string_is_left_to_the_parser(text):
    raw = b"%b" % text.encode()
    pattern = pattern_of("Hi")
    assert pattern.text_in(chat_event("Hi").replace(b"Hi", raw)) == ""
    assert pattern.text_in(chat_event("Hi").replace(b"Hi", b"\xff")) == ""
    assert pattern.text_in(chat_event("\u00e9 you")) == "\u00e9 you"


def test_bytes_that_only_begin_and_end_alike_are_no_event():
    event = chat_event("Hi")
    pattern = pattern_of("Hi")
    assert [pattern.text_in(event[:size]) for size in range(len(event))] == [""] * len(event)
    assert [pattern.text_in(event[size:]) for size in range(1, len(event))] == [""] * (len(event) - 1)


def test_a_reply_whose_events_all_differ_is_soon_read_without_looking_for_patterns():
    decoder, events = ChatDecoder("text/event-stream"), []
    for number in range(decoders.MOST_MISSES + 2):
        decoder.feed(chat_event("a", obfuscation="x" * number), events)
    assert decoder._misses == decoders.MOST_MISSES
    assert decoder._pattern is None
    assert [each.content for each in events if isinstance(each, Delta)] == ["a"] * (decoders.MOST_MISSES + 2)
