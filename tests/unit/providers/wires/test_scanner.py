"""The scanner finds the end of a JSON value in any cut, as a reader of single characters does."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater_server.providers.wires.events.scanner import JSONScanner

STRINGS = ('""', '"{"', r'"\""', r'"\\"', r'"\\\"]"', r'"\u007d"')
TEXTS = st.lists(st.sampled_from([*"{}[] a:,", *STRINGS]), max_size=30).map("".join)
VALUES = st.recursive(
    st.none() | st.text(alphabet='{}[]"\\é a', max_size=8) | st.integers(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet='{"\\]b', max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


def is_complete(text: str) -> bool:
    """Reads character by character."""
    depth, in_string, escaped, complete = 0, False, False, False
    for sign in text:
        if escaped:
            escaped = False
        elif in_string and sign == "\\":
            escaped = True
        elif sign == '"':
            in_string = not in_string
        elif not in_string and sign in "{[":
            depth += 1
        elif not in_string and sign in "}]":
            depth -= 1
            complete = depth == 0
    return complete


def scanned(pieces: list[str]) -> bool:
    scanner = JSONScanner()
    for piece in pieces:
        scanner.feed(piece)
    return scanner.complete


@given(TEXTS, st.data())
def test_it_agrees_with_a_reader_of_characters_on_any_text(text, data):
    cut = data.draw(st.integers(0, len(text)))
    assert scanned([text[:cut], text[cut:]]) == is_complete(text)


@given(VALUES, st.data())
def test_a_value_is_complete_at_its_end_and_not_before(value, data):
    text = json.dumps({"x": value}, ensure_ascii=data.draw(st.booleans()))
    cut = data.draw(st.integers(0, len(text) - 1))
    assert scanned([text[:cut], text[cut:]])
    assert not scanned([text[:cut]])


@pytest.mark.parametrize("unit", ['"', "[{", "{}", "\\n", '\\"', "[]", '"",', "\\"], ids=repr)
def test_a_large_text_of_marks_costs_little(unit):
    text = '{"a":' + unit * (4_000_000 // len(unit))
    began = time.process_time()
    scanned([text])
    assert time.process_time() - began < 0.6
