"""Commands on a terminal: a plain one, or a screen that tmux keeps."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from tests.support.servers.server import clean_environment

PROMPT = "$"


def on_a_terminal(*args: str) -> str:
    """The output of `headwater ARGS` on a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "headwater.cli", *args],
        stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=clean_environment(),
    )  # fmt: skip
    os.close(theirs)
    written = b""
    try:
        while piece := os.read(ours, 4096):
            written += piece
    except OSError:
        pass  # that is how a terminal says that the other side has closed it
    os.close(ours)
    assert process.wait(30) == 0, written
    return written.decode()


class Terminal:
    """A shell on a terminal of 24 lines, in a server of tmux that ends with the block."""

    def __init__(self, folder: Path, target: str, columns: int = 60) -> None:
        self._columns = columns
        self._socket = folder / "tmux"
        commands = folder / "bin"
        commands.mkdir()
        (commands / "headwater").symlink_to(Path(sys.executable).with_name("headwater"))
        start = folder / "start.sh"  # of the shell; root's prompt is fixed otherwise
        start.write_text(f"PS1='{PROMPT} '\n")
        variables = {"HEADWATER_TARGET": target, "LANG": "C.UTF-8", "ENV": str(start)}
        kept = {key: value for key, value in clean_environment(**variables).items() if key != "TMUX"}
        self._environment = kept | {"PATH": f"{commands}:{kept['PATH']}"}
        self._folder = folder

    def __enter__(self) -> Self:
        self._tmux("-f", os.devnull, "new-session", "-d", "-x", str(self._columns), "-y", "24", "/bin/sh")
        self.wait_for(rf"^\{PROMPT}$")
        return self

    def __exit__(self, *_: object) -> None:
        self._tmux("kill-server")

    def run(self, command: str) -> None:
        """Types a command on a clear screen."""
        self._tmux("send-keys", "clear", "Enter")
        self.wait_for(rf"\A\{PROMPT}\Z")
        self.type(command, "Enter")

    def type(self, text: str, *keys: str) -> None:
        """Types a text, and presses keys by their names in tmux."""
        self._tmux("send-keys", "-l", text)
        for key in keys:
            self._tmux("send-keys", key)

    def press(self, key: str) -> None:
        self._tmux("send-keys", key)

    def paste(self, text: str) -> None:
        self._tmux("set-buffer", text)
        self._tmux("paste-buffer", "-p")

    def wait_for(self, pattern: str) -> str:
        """The screen, as soon as it has this."""
        until = time.monotonic() + 30
        while not re.search(pattern, screen := self._screen(), re.MULTILINE):
            assert time.monotonic() < until, f"{pattern!r} is not on the screen:\n{screen}"
            time.sleep(0.05)
        return screen

    def _screen(self) -> str:
        lines = self._tmux("capture-pane", "-p").splitlines()
        return "\n".join(line.rstrip() for line in lines).rstrip()

    def _tmux(self, *command: str) -> str:
        return subprocess.run(
            ["tmux", "-S", str(self._socket), *command],
            env=self._environment, cwd=self._folder, capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
