"""Reads messages from a person at a terminal, or from a pipe."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable
from types import ModuleType
from typing import NoReturn

import click

from headwater.cli.process import refuse_input
from headwater.cli.terminal import is_dumb

_PROMPT = "> "


def reader() -> Callable[[], str]:
    """A function that reads a message: on a terminal with editing and history, where Python has them.

    It raises EOFError at the end, and KeyboardInterrupt for Ctrl-C on an empty line.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return _read_line
    readline: ModuleType | None = None
    with contextlib.suppress(ImportError):
        import readline  # gives `input` its editing and its history
    if readline is None:
        return lambda: input(_PROMPT)
    # A paste with line feeds is one message. A dumb terminal would show the codes that ask it for that.
    readline.parse_and_bind(f"set enable-bracketed-paste {'off' if is_dumb() else 'on'}")
    return _Editing(readline).read


def _read_line() -> str:
    try:
        return input()
    except UnicodeDecodeError:
        refuse_input()


class _Editing:
    """Reads a line with the module `readline`; Ctrl-C clears a line that is half typed."""

    def __init__(self, readline: ModuleType) -> None:
        self._readline = readline
        self._typed = ""

    def read(self) -> str:
        """The next message."""
        while True:
            self._typed = ""
            usual = signal.signal(signal.SIGINT, self._interrupted)
            try:
                return input(_PROMPT)
            except KeyboardInterrupt:
                if not self._typed:
                    raise
                click.echo(err=True)
            except EOFError:
                if is_dumb():  # readline ends the line elsewhere
                    click.echo(err=True)
                raise
            finally:
                signal.signal(signal.SIGINT, usual)

    def _interrupted(self, *_: object) -> NoReturn:
        self._typed = self._readline.get_line_buffer()
        raise KeyboardInterrupt
