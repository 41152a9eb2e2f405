"""Text in the columns of a terminal."""

from __future__ import annotations

import pytest

from headwater.cli.output import table
from headwater.cli.wrapping import Wrapper, columns_of, cut


def wrapped(*pieces: str, width: int = 10) -> str:
    lines = Wrapper(lambda: width)
    return "".join(map(lines.add, pieces)) + lines.end()


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("one two three", "one two\nthree"),
        ("one two to x", "one two to\nx"),  # a full line
        ("a  b", "a  b"),
        ("first  \nsecond", "first\nsecond"),  # spaces at the end of a line are no indentation of the next one
        ("  code\n\n  more", "  code\n\n  more"),
        ("a\tb", "a       b"),
        ("see https://example.org/long ok", "see\nhttps://example.org/long ok"),
        ("日本語の文章", "日本語の文\n章"),
        ("日本語の文。章", "日本語の\n文。章"),  # no full stop begins a line
        ("「日本」「日」", "「日本」\n「日」"),  # no opening bracket ends one
        ("日本語の on", "日本語の\non"),
        ("cafe\u0301 cafe\u0301 x", "cafe\u0301 cafe\u0301\nx"),
        ("👩\u200d👩\u200d👧 yes", "👩\u200d👩\u200d👧 yes"),
    ],
)
def test_lines_end_between_words_however_the_text_comes(text, lines):
    assert wrapped(text) == lines
    assert wrapped(*text) == lines


def test_letters_of_a_script_without_spaces_are_shown_as_they_come():
    lines = Wrapper(lambda: 10)
    assert [lines.add(letter) for letter in "日本語"] == ["", "日", "本"]


def test_the_part_of_a_long_word_that_fills_the_line_is_shown_as_it_comes():
    assert Wrapper(lambda: 4).add("abcdefg") == "abcdefg"


def test_a_line_is_as_wide_as_the_terminal_is_now():
    widths = [20]
    lines = Wrapper(lambda: widths[0])
    shown = lines.add("one two three ")
    widths[0] = 8
    assert shown + lines.add("four five ") == "one two three\nfour\nfive"


@pytest.mark.parametrize(
    ("text", "columns", "shown"),
    [("abc", 3, "abc"), ("abcd", 3, "ab…"), ("日本", 4, "日本"), ("日本語", 4, "日…"), ("日本語", 5, "日本…")],
)
def test_a_text_is_cut_to_columns(text, columns, shown):
    assert cut(text, columns) == shown


@pytest.mark.parametrize(
    "name", ["n", "a-name-of-a-workflow-that-takes-all-of-it-and-more-" * 3, "名前" * 40, "é\u0301" * 70]
)
@pytest.mark.parametrize("columns", [20, 40, 60, 80])
def test_no_line_of_a_table_is_longer_than_the_terminal_is_wide(monkeypatch, name, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    heads = ("RUN", "WORKFLOW", "STATUS", "STARTED", "TOOK", "ERROR")
    row = ("run_AAAAAAAAAAAAAAAAAAAAAA", name, "completed", "2026-11-28 22:22:43", "12.3 s", name)
    for rows in [row], [row[1:] + row[:1]], []:
        lines = table(heads, rows, flexible=(1,)).splitlines()
        assert max(map(columns_of, lines)) <= columns
        assert len(lines) == 1 + len(rows)


def test_a_table_in_a_pipe_is_whole(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    assert table(("A", "B"), [("x" * 200, "y" * 200)]).splitlines()[1] == f"{'x' * 200}  {'y' * 200}"
