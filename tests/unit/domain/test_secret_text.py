"""Keys in texts of others: found however they are encoded."""

from __future__ import annotations

import base64
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater_server.domain.secret_text import HIDDEN, SHORTEST_KEY, secrets_in, speaks_of_a_key, without

KEYS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=SHORTEST_KEY, max_size=100)


def encoded(key: str, before: str, after: str) -> list[str]:
    """The key as programs write it."""
    whole = f"{before}{key}{after}".encode()
    return [
        key,
        key.upper(),
        quote(key),
        quote(key, safe=""),
        quote(quote(key, safe="")),
        key.encode().hex(),
        base64.b64encode(whole).decode(),
        base64.urlsafe_b64encode(whole).decode(),
    ]


@given(key=KEYS, before=st.text(max_size=5), after=st.text(max_size=5), form=st.integers(0, 7))
def test_a_key_is_taken_out_of_a_text_however_it_is_encoded(key, before, after, form):
    text = encoded(key, before, after)[form]
    cleaned = without([key], f"({text})")
    assert HIDDEN in cleaned
    kept = cleaned.replace(HIDDEN, "")
    assert len(kept) <= len(f"({text})") - len(key) + 2
    if "*" not in key:
        assert without([key], cleaned) == cleaned


def test_a_beginning_of_a_key_where_a_text_was_cut_is_taken_out():
    assert without(["sk-0123456789"], "bad key sk-01234…") == f"bad key {HIDDEN}"
    assert without(["sk-0123456789"], "bad key sk-01…") == "bad key sk-01…"


def test_a_short_text_is_no_key():
    assert without(["", "abc"], "abc of it") == "abc of it"


@pytest.mark.parametrize(
    ("name", "value", "hidden"),
    [
        ("x-api-token", "plain", ["plain", "plain"]),
        ("authorization", "Bearer abc", ["Bearer abc", "Bearer", "abc"]),
        ("x-note", "sk-0123456789", ["sk-0123456789", "sk-0123456789"]),
        ("x-note", "plain words", []),
        ("x-api-token", "${NAME}", []),
    ],
)
def test_the_parts_of_a_header_that_must_not_be_repeated(name, value, hidden):
    assert secrets_in(name, value) == hidden


def test_names_that_speak_of_keys():
    assert all(map(speaks_of_a_key, ("OPENAI_API_KEY", "x-auth", "Cookie", "db_password")))
    assert not any(map(speaks_of_a_key, ("PATH", "x-session-id", "HOME")))
