"""Options: the texts that make a context and a point in time."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import click
import pytest

from headwater.cli.options import context_json, since
from headwater.cli.output import one_line

COMMAND = click.Command("x")
CONTEXT, OPTION = click.Context(COMMAND), click.Option(["--x"])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3), ("true", True), ("null", None), ('{"a": [1]}', {"a": [1]}), ('"3"', "3"),
        ("Rome", "Rome"), ("", ""), ("a=b", "a=b"), ("[1", "[1"), ("NaN", "NaN"), ("-Infinity", "-Infinity"),
        ("[" * 100_000, "[" * 100_000), ("é\n", "é\n"),
    ],
    ids=lambda value: str(value)[:10],
)  # fmt: skip
def test_a_value_is_json_or_else_text(text, value):
    assert json.loads(context_json(CONTEXT, OPTION, (f"key={text}",))) == {"key": value}


def test_a_number_stays_as_it_is_written():
    assert context_json(CONTEXT, OPTION, ("a=3", "b=3.0", "c=1e400")) == '{"a": 3, "b": 3.0, "c": 1e400}'


def test_no_context_is_nothing():
    assert context_json(CONTEXT, OPTION, ()) == ""


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (("a",), "must be key=value"),
        (("=a",), "must be key=value"),
        (("a=1", "a=2"), "twice"),
    ],
)
def test_a_wrong_context_is_named(values, words):
    with pytest.raises(click.BadParameter, match=words):
        context_json(CONTEXT, OPTION, values)


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("45s", timedelta(seconds=45)), ("30m", timedelta(minutes=30)), ("2h", timedelta(hours=2)),
        ("3d", timedelta(days=3)), ("1w", timedelta(weeks=1)),
    ],
)  # fmt: skip
def test_since_takes_how_long_ago(text, ago):
    before = datetime.now(UTC)
    found = since(CONTEXT, OPTION, text)
    assert found is not None
    assert before - ago <= found <= datetime.now(UTC) - ago


def test_since_takes_iso_8601():
    assert since(CONTEXT, OPTION, "2025-03-01T09:00+02:00") == datetime(2025, 3, 1, 7, tzinfo=UTC)
    assert since(CONTEXT, OPTION, "2025-03-01") == datetime(2025, 3, 1).astimezone()
    assert since(CONTEXT, OPTION, None) is None


@pytest.mark.parametrize("text", ["", "2", "2y", "-2h", "yesterday", "999999999w", "0001-01-01T00:00+23:00"])
def test_since_refuses_what_is_no_point_in_time(text):
    with pytest.raises(click.BadParameter, match="write how long ago"):
        since(CONTEXT, OPTION, text)


def test_somebody_elses_text_becomes_one_harmless_line():
    assert one_line(" a\r\n\tb\x1b[2J\u2028c\u202ed ", 12) == "a b\ufffd[2J c\ufffdd"
    assert one_line("abcdef", 4) == "abc…"
