"""Tells where a JSON value that comes in pieces is complete, without parsing it: by its brackets."""

from __future__ import annotations

import re

_MARKS = re.compile(r'["\\{}\[\]]')


class JSONScanner:
    """Counts the brackets of one object or list.

    Attributes:
        began: whether anything but white space has come.
        complete: whether as many brackets have closed as have opened, at least one.
    """

    def __init__(self) -> None:
        self.began = False
        self.complete = False
        self._depth = 0
        self._in_string = False
        self._escaped = False

    def feed(self, text: str) -> None:
        """Reads the next piece."""
        if not self.began:
            text = text.lstrip()
            self.began = bool(text)
        skipped = 0 if self._escaped and text else -1
        if text:
            self._escaped = False
        for mark in _MARKS.finditer(text):
            at, sign = mark.start(), mark[0]
            if at == skipped:
                continue
            if self._in_string:
                if sign == "\\":
                    skipped = at + 1
                elif sign == '"':
                    self._in_string = False
            elif sign == '"':
                self._in_string = True
            elif sign in "{[":
                self._depth += 1
            elif sign in "}]":
                self._depth -= 1
                self.complete = self._depth == 0
        self._escaped = bool(text) and skipped == len(text)
