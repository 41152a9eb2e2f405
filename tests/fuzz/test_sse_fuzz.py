"""The SSE decoder against a slow and straightforward reading of the standard, and the line decoder against `split`."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from headwater_server.providers.wires.events.framing import AnyFraming
from headwater_server.providers.wires.events.ndjson import NDJSONDecoder
from headwater_server.providers.wires.events.sse import SSEDecoder

TOKENS = [
    b"data: ", b"data:", b"data", b"event: ", b"event:", b"event", b"id: 1", b"retry: 1", b": note", b":", b" ", b"a",
    b"{}", b"[DONE]", b"\r", b"\n", b"\r\n", b"\n\n", b"\r\r", b"\r\n\r\n", b"\xef\xbb\xbf", b"\xff", b"\0", b"\v",
    "\u2028".encode(), "\u0085".encode(),
    b"data: {}\n\n", b"data:{}\n\n", b"event: a\ndata: {}\n\n", b"data: {}\r\n\r\n", b"event:a\r\ndata: {}\r\n\r\n",
]  # fmt: skip
BARE = [b'{"error":', b'"a"', b"}", b"{", b"[", b"error: a\n", b'{"error": 1}\n', b"\n{}"]

TEXTS = st.lists(st.sampled_from(TOKENS), max_size=40).map(b"".join) | st.binary(max_size=60)


def reference(text: bytes) -> list[tuple[str, bytes]]:
    """Byte by byte. As in the decoder, finished lines count at the end even without their blank line."""
    text = text.removeprefix(b"\xef\xbb\xbf")
    lines, line, position = [], b"", 0
    while position < len(text):
        byte = text[position : position + 1]
        position += 1
        if byte == b"\r" and text[position : position + 1] == b"\n":
            position += 1
        if byte in (b"\r", b"\n"):
            lines.append(line)
            line = b""
        else:
            line += byte
    events: list[tuple[str, bytes]] = []
    name, data = b"", b""
    for line in [*lines, b""]:
        if line == b"":
            if data:
                events.append((name.decode("utf-8", "replace"), data[:-1]))
            name, data = b"", b""
            continue
        field, value = line, b""
        if b":" in line:
            at = line.index(b":")
            field, value = line[:at], line[at + 1 :]
            if value[:1] == b" ":
                value = value[1:]
        if field == b"data":
            data += value + b"\n"
        if field == b"event":
            name = value
    return events


@st.composite
def cut_texts(draw: st.DrawFn, texts: st.SearchStrategy[bytes] = TEXTS) -> tuple[bytes, list[bytes]]:
    text = draw(texts)
    cuts = [0, *sorted(draw(st.lists(st.integers(0, len(text)), max_size=6))), len(text)]
    return text, [text[a:b] for a, b in pairwise(cuts)]


@given(cut_texts())
def test_the_decoder_agrees_with_the_reference_however_the_text_is_cut(cut: tuple[bytes, list[bytes]]) -> None:
    text, pieces = cut
    decoder = SSEDecoder()
    events = [event for piece in pieces for event in decoder.feed(piece)] + decoder.close()
    assert [(event.event, event.data) for event in events] == reference(text)


@given(TEXTS)
def test_the_decoder_agrees_with_the_reference_byte_by_byte(text: bytes) -> None:
    decoder = SSEDecoder()
    events = [event for number in range(len(text)) for event in decoder.feed(text[number : number + 1])]
    assert [(event.event, event.data) for event in events + decoder.close()] == reference(text)


@given(cut_texts(st.lists(st.sampled_from([*TOKENS, *BARE]), max_size=40).map(b"".join)))
def test_events_with_bare_objects_between_them_are_the_same_however_the_text_is_cut(
    cut: tuple[bytes, list[bytes]],
) -> None:
    first = b"data: {}\n\n"  # decides the framing
    text, pieces = cut
    whole, cut_up = AnyFraming(), AnyFraming()
    events = [event for piece in (first, *pieces) for event in cut_up.feed(piece)] + cut_up.close()
    text = first + text
    assert events == [event for n in range(len(text)) for event in whole.feed(text[n : n + 1])] + whole.close()


@given(cut_texts())
def test_the_line_decoder_agrees_with_split_however_the_text_is_cut(cut: tuple[bytes, list[bytes]]) -> None:
    text, pieces = cut
    decoder = NDJSONDecoder()
    lines = [line for piece in pieces for line in decoder.feed(piece)] + decoder.close()
    *whole, last = text.split(b"\n")
    expected = [line.removesuffix(b"\r") for line in whole if line.strip()] + ([last] if last.strip() else [])
    assert lines == expected
