"""Server-sent events by the WHATWG rules, on bytes."""

from __future__ import annotations

import time

import pytest

from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.providers.wires.events import sse
from headwater_server.providers.wires.events.sse import MAX_EVENT_BYTES, ServerSentEvent, SSEDecoder


def decode(*pieces: bytes) -> list[ServerSentEvent]:
    decoder = SSEDecoder()
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return events + decoder.close()


def data_of(*pieces: bytes) -> list[bytes]:
    return [event.data for event in decode(*pieces)]


def test_an_event_ends_at_a_blank_line() -> None:
    decoder = SSEDecoder()
    assert decoder.feed(b"data: a\n") == []
    assert decoder.feed(b"\n") == [ServerSentEvent("", b"a")]


def test_the_event_field_names_the_event_wherever_it_stands_in_the_block() -> None:
    assert decode(b"event: ping\ndata: 1\n\ndata: 2\nevent: pong\n\n") == [
        ServerSentEvent("ping", b"1"),
        ServerSentEvent("pong", b"2"),
    ]


def test_a_name_belongs_to_one_event_only() -> None:
    assert decode(b"event: ping\ndata: 1\n\ndata: 2\n\n")[1] == ServerSentEvent("", b"2")


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_lines_end_in_lf_cr_or_crlf(end: bytes) -> None:
    assert data_of(b"data: a" + end + b"data: b" + end + end + b"data: c" + end + end) == [b"a\nb", b"c"]


def test_a_crlf_split_over_two_reads_is_one_line_end() -> None:
    assert data_of(b"data: a\r", b"\ndata: b\r", b"\n\r", b"\n") == [b"a\nb"]


def test_an_empty_read_does_not_forget_a_cr() -> None:
    assert data_of(b"data: a\r", b"", b"\ndata: b\n\n") == [b"a\nb"]


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\u0085", "\v", "\f", "\x1c", "\x1d", "\x1e"])
def test_no_other_character_ends_a_line(character: str) -> None:
    assert data_of(f"data: a{character}data: b\n\n".encode()) == [f"a{character}data: b".encode()]


def test_several_data_lines_join_with_a_newline() -> None:
    assert data_of(b"data: {\ndata:   1\ndata\ndata: }\n\n") == [b"{\n  1\n\n}"]


def test_only_one_space_after_the_colon_is_dropped() -> None:
    assert data_of(b"data:a\n\ndata: b\n\ndata:  c\n\n") == [b"a", b"b", b" c"]


def test_comments_and_unknown_fields_are_ignored() -> None:
    assert data_of(b": data: no\n:\nretry: 10\nid: 4\ndatax: no\n data: no\nDATA: no\ndata: yes\n\n") == [b"yes"]


def test_a_block_without_data_is_no_event() -> None:
    assert decode(b"event: ping\n\n: comment\n\n\n") == []


def test_a_byte_order_mark_before_the_first_line_is_dropped_and_no_other() -> None:
    assert data_of(b"\xef", b"\xbb\xbfdata: a\n\n") == [b"a"]
    assert data_of(b"data: a\n\n\xef\xbb\xbfdata: b\n\n") == [b"a"]


def test_an_unfinished_line_at_the_end_is_dropped() -> None:
    assert data_of(b'data: a\n\ndata: {"finish_reason": "st') == [b"a"]


def test_an_event_of_finished_lines_counts_at_the_end_even_without_its_blank_line() -> None:
    assert data_of(b"data: a\n\ndata: [DONE]\n") == [b"a", b"[DONE]"]


def test_a_name_that_is_not_utf_8_does_no_harm() -> None:
    assert decode(b"event: \xff\ndata: 1\n\n") == [ServerSentEvent("\ufffd", b"1")]


def test_an_event_that_is_too_large_is_an_error_however_it_is_cut() -> None:
    line = b"data: " + b"x" * (1 << 20)
    for pieces in (
        [line + b"\n"] * 33,  # many lines
        [line[:6], *[line[6:]] * 33],  # one line in many reads
        [line + b"x" * MAX_EVENT_BYTES + b"\n\n"],  # all at once
        [b":" + b"x" * MAX_EVENT_BYTES + b"x\n\n"],  # a comment
    ):
        with pytest.raises(HeadwaterError) as caught:
            decode(*pieces)
        assert caught.value.reason is Reason.PROVIDER_UNAVAILABLE
        assert "32 MiB" in caught.value.message


def test_empty_data_lines_count_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 1000)
    decoder = SSEDecoder()
    decoder.feed(b"data\n" * 1000)
    with pytest.raises(HeadwaterError):
        decoder.feed(b"data\n")


def test_events_before_one_that_is_too_large_still_come() -> None:
    decoder = SSEDecoder()
    assert decoder.feed(b"data: a\n\ndata: " + b"x" * MAX_EVENT_BYTES + b"x\n\n") == [ServerSentEvent("", b"a")]
    with pytest.raises(HeadwaterError):
        decoder.feed(b"data: b\n\n")


def test_a_long_line_in_small_pieces_takes_linear_time() -> None:
    def seconds(pieces: int) -> float:
        piece = b"x" * 256
        best = float("inf")
        for _ in range(3):
            decoder = SSEDecoder()
            began = time.process_time()
            decoder.feed(b"data: ")
            for _ in range(pieces):
                decoder.feed(piece)
            assert len(decoder.feed(b"\n\n")[0].data) == 256 * pieces
            best = min(best, time.process_time() - began)
        return best

    # Sixteen times the work: about 16 times as long; joining at each piece would take some 200 times.
    assert seconds(32_768) < 60 * seconds(2_048)
