"""Text in the columns of a terminal: lines that end between words, and text that is cut to fit.

Columns are counted as terminals do: two for a letter of East Asia or an emoji, none for an accent that is put on a
letter or for a joiner.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

_TAB = 8
_JOINER = "\N{ZERO WIDTH JOINER}"
_OPENING = ("Ps", "Pi")
_CLOSING = ("Pe", "Pf", "Po")


def columns_of(text: str) -> int:
    """The columns that a text without control characters takes."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def cut(text: str, columns: int) -> str:
    """The beginning of a text, with an ellipsis, when it takes more columns."""
    if columns_of(text) <= columns:
        return text
    room, end = columns - 1, 0
    while end < len(text) and (room := room - _columns(text[end])) >= 0:
        end += 1
    return f"{text[:end]}…"


class Wrapper:
    """Breaks a text that comes in pieces into lines, between words. The last word waits until it is complete.

    Scripts without spaces break between letters, but not before a comma or a closing bracket. A word that is longer
    than a line is left to the terminal.

    Args:
        width: tells most columns of a line, now.
    """

    def __init__(self, width: Callable[[], int]) -> None:
        self._width = width
        self._column = 0
        self._spaces = 0
        self._word = ""
        self._is_long = False

    def add(self, text: str) -> str:
        """The part of the text that can be shown now."""
        return "".join(map(self._add, text))

    def end(self) -> str:
        """The word that waits, with the spaces before it."""
        if not self._word:
            self._is_long = False
            return ""
        columns, width = columns_of(self._word), self._width()
        before = " " * self._spaces
        if self._column and not self._is_long and self._column + self._spaces + columns > width:
            before, self._column, self._spaces = "\n", 0, 0
        self._column += self._spaces + columns
        if self._column > width:
            self._column = self._column % width or width
        found, self._spaces, self._word, self._is_long = before + self._word, 0, "", False
        return found

    def _add(self, letter: str) -> str:
        if letter == "\n":
            shown = self.end() + letter
            self._column = self._spaces = 0
            return shown
        if letter in " \t":
            shown = self.end()
            self._spaces += 1 if letter == " " else _TAB - (self._column + self._spaces) % _TAB
            return shown
        shown = self.end() if self._may_break_before(letter) else ""
        self._word += letter
        if self._is_long or columns_of(self._word) > self._width():
            shown += self.end()
            self._is_long = True
        return shown

    def _may_break_before(self, letter: str) -> bool:
        if not self._word or self._is_long or not (_is_wide(letter) or _is_wide(self._word[-1])):
            return False
        if _columns(letter) == 0 or self._word[-1] == _JOINER or unicodedata.category(letter) in _CLOSING:
            return False
        return unicodedata.category(self._word[-1]) not in _OPENING


def _columns(letter: str) -> int:
    if unicodedata.category(letter) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if _is_wide(letter) else 1


def _is_wide(letter: str) -> bool:
    return unicodedata.east_asian_width(letter) in "WF"
