"""Newline-delimited JSON: only LF ends a line."""

from __future__ import annotations

import pytest

from headwater_server.domain.errors import HeadwaterError, Reason
from headwater_server.providers.wires.events.ndjson import MAX_LINE_BYTES, NDJSONDecoder


def decode(*pieces: bytes) -> list[bytes]:
    decoder = NDJSONDecoder()
    lines = [line for piece in pieces for line in decoder.feed(piece)]
    return lines + decoder.close()


def test_a_line_comes_as_soon_as_it_ends() -> None:
    decoder = NDJSONDecoder()
    assert decoder.feed(b'{"a":1}\n{"b"') == [b'{"a":1}']
    assert decoder.feed(b":2}\n") == [b'{"b":2}']
    assert decoder.close() == []


def test_a_cr_before_the_lf_is_dropped_and_no_other() -> None:
    assert decode(b"a\r", b"\nb\rc\n", b"\rd\r\r\n") == [b"a", b"b\rc", b"\rd\r"]


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\u0085", "\v", "\f"])
def test_no_other_character_ends_a_line(character: str) -> None:
    assert decode(f"a{character}b\n".encode()) == [f"a{character}b".encode()]


def test_the_last_line_needs_no_newline() -> None:
    assert decode(b"a\nb") == [b"a", b"b"]


def test_blank_lines_say_nothing() -> None:
    assert decode(b"\n\r\n  \na\n\n") == [b"a"]


def test_a_line_that_is_too_long_is_an_error_however_it_is_cut() -> None:
    for pieces in ([b"x" * (1 << 20)] * 33, [b"x" * MAX_LINE_BYTES + b"x\n"]):
        with pytest.raises(HeadwaterError) as caught:
            decode(*pieces)
        assert caught.value.reason is Reason.PROVIDER_UNAVAILABLE
        assert "32 MiB" in caught.value.message


def test_lines_before_one_that_is_too_long_still_come() -> None:
    decoder = NDJSONDecoder()
    assert decoder.feed(b"a\n" + b"x" * MAX_LINE_BYTES + b"x\n") == [b"a"]
    with pytest.raises(HeadwaterError):
        decoder.close()
