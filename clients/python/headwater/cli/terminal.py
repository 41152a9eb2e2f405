"""Only a terminal gets these: faint text, a sign of life.

NO_COLOR (https://no-color.org) turns colours and faint text off. TERM=dumb, a terminal that only appends, also turns
off all that moves the cursor, and so does a TERM that is not set.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import time

import click

from headwater.cli.wrapping import cut

_FRAMES = "|/-\\"
_FRAME_SECONDS = 0.1


def on_terminal() -> bool:
    """Whether a person reads both standard output and standard error as they come."""
    return sys.stdout.isatty() and sys.stderr.isatty()


def outlive() -> None:
    """Lets the end of the terminal (SIGHUP) be no end of this program: its input ends then, or it needs none."""
    if hasattr(signal, "SIGHUP"):  # not on Windows
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


def is_dumb() -> bool:
    """Whether the terminal only appends. One without a name counts as such, but for those of Windows."""
    return os.environ.get("TERM", "") in ("", "dumb", "unknown") and os.name != "nt"


def is_plain() -> bool:
    """Whether the terminal has no colours and no faint letters, or the user wants none."""
    return is_dumb() or bool(os.environ.get("NO_COLOR"))


def faint(text: str) -> str:
    """The text in faint letters, where that is wanted."""
    return text if is_plain() else click.style(text, dim=True)


def width() -> int:
    """Columns of the terminal."""
    return max(shutil.get_terminal_size().columns, 10)


class SignOfLife:
    """Shows on standard error that a model is waited for, until `stop`; nothing in a pipe. Made on an event loop.

    Attributes:
        name: of the model.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._spinning: asyncio.Task[None] | None = None
        if not on_terminal():
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
            line = f"{_FRAMES[turn % len(_FRAMES)]} {self.name}{f' {seconds} s' if seconds else ''}"
            self._show(f"\r\x1b[K{cut(line, width() - 1)}")
            turn += 1
            await asyncio.sleep(_FRAME_SECONDS)

    @staticmethod
    def _show(text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()
