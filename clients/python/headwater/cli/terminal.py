"""Only a terminal gets these: faint text, a sign of life, lines that end between words.

NO_COLOR (https://no-color.org) turns colours and faint text off. TERM=dumb, a terminal that only appends, also turns
off all that moves the cursor.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sys
import time
import unicodedata

import click

_FRAMES = "|/-\\"
_FRAME_SECONDS = 0.1
_PIECES = re.compile(r"\n| +|[^\n ]+")


def outlive() -> None:
    """Lets the end of the terminal (SIGHUP) be no end of this program: its input ends then, or it needs none."""
    if hasattr(signal, "SIGHUP"):  # not on Windows
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


def is_dumb() -> bool:
    """Whether the terminal only appends."""
    return os.environ.get("TERM") == "dumb"


def faint(text: str) -> str:
    """The text in faint letters, where the terminal has them and the user wants them."""
    return text if is_dumb() or os.environ.get("NO_COLOR") else click.style(text, dim=True)


def width() -> int:
    """Columns of the terminal."""
    return max(shutil.get_terminal_size().columns, 10)


class SignOfLife:
    """Shows on standard error that a model is waited for, until `stop`; nothing in a pipe. Made on an event loop.

    Args:
        name: of the model.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._spinning: asyncio.Task[None] | None = None
        if not (sys.stdout.isatty() and sys.stderr.isatty()):
            return
        if is_dumb():
            click.echo(f"waiting for {name} ...", err=True)
        else:
            self._spinning = asyncio.create_task(self._spin())

    def stop(self) -> None:
        """Takes it away; again does nothing."""
        if self._spinning is not None:
            self._spinning.cancel()
            self._spinning = None
            self._show("\r\x1b[K")

    async def _spin(self) -> None:
        began = time.monotonic()
        turn = 0
        while True:
            seconds = int(time.monotonic() - began)
            line = f"{_FRAMES[turn % len(_FRAMES)]} {self._name}{f' {seconds} s' if seconds else ''}"
            self._show(f"\r\x1b[K{line[: width() - 1]}")
            turn += 1
            await asyncio.sleep(_FRAME_SECONDS)

    @staticmethod
    def _show(text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()


class Wrapper:
    """Breaks a text that comes in pieces into lines, between words. The last word waits until it is complete.

    Args:
        columns: most columns of a line; a longer word is left to the terminal.
    """

    def __init__(self, columns: int) -> None:
        self._columns = columns
        self._column = 0
        self._spaces = ""
        self._word = ""

    def add(self, text: str) -> str:
        """The part of the text that can be shown now."""
        shown = []
        for piece in _PIECES.findall(text):
            if piece == "\n":
                shown.append(f"{self.end()}\n")
                self._column = 0
            elif piece[0] == " ":
                shown.append(self.end())
                self._spaces += piece
            else:
                self._word += piece
        return "".join(shown)

    def end(self) -> str:
        """The word that waits, with the spaces before it."""
        if not self._word:
            return ""
        columns = _columns(self._word)
        before = self._spaces
        if self._column and self._column + len(before) + columns > self._columns:
            before, self._column = "\n", 0
        else:
            self._column += len(before)
        self._column += columns
        found, self._spaces, self._word = before + self._word, "", ""
        return found


def _columns(word: str) -> int:
    """The columns that a word takes on a terminal."""
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in word
    )
