"""The screens of a terminal of 60 columns, taken from tmux and compared with those in `recordings`.

Times, ids and the turning of the sign of life are put aside, so that a screen is equal on each machine.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from tests.support.servers.server import ServerProcess, clean_environment
from tests.support.servers.silent import socket_that_says_nothing

RECORDINGS = Path(__file__).parent / "recordings"
PROMPT = "$"
PLAN = """
name: trip
agent: {model: scripted/echo}
steps:
- {name: pack, action: a tent and a rope and a lamp and a warm coat for each of the two}
- {name: walk, action: to the spring, depends_on: [pack], agent: {provider_options: {scripted: {hang_after: 1}}}}
- {name: rest, action: by the water, depends_on: [pack]}
- {name: home, action: and back, depends_on: [walk, rest]}
"""
PUT_ASIDE = [
    (r"run_\S{22}", "run_" + "x" * 22),
    (r"\d+ tokens?,[^$>]*?in all(,\s+ended\s+by\s+\w+)?", lambda found: " ".join(found[0].split())),
    (r"\b\d+\.\d+(?= s\b| tokens/s)", "N"),
    (r"^[|/\\-] (\S+)( \d+ s)?$", r"| \1"),
    (r"^event:    \d+$", "event:    N"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "YYYY-MM-DD hh:mm:ss"),
    ("\N{BOX DRAWINGS HEAVY HORIZONTAL}[\u2501\u2578\u257a]*", "\u2501" * 5),
]


class Terminal:
    """A shell on a terminal of 60 columns and 24 lines, in a server of tmux that ends with the block."""

    def __init__(self, folder: Path, target: str) -> None:
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
        self._tmux("-f", os.devnull, "new-session", "-d", "-x", "60", "-y", "24", "/bin/sh")
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


@pytest.fixture(scope="module")
def target() -> Iterator[str]:
    with ServerProcess("--scripted", "--default-model", "scripted/echo") as server:
        yield server.target


@pytest.fixture
def terminal(tmp_path: Path, target: str) -> Iterator[Terminal]:
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    (tmp_path / "trip.yaml").write_text(PLAN)
    with Terminal(tmp_path, target) as terminal:
        yield terminal


def check(name: str, *screens: str) -> None:
    """Compares screens with those of a recording."""
    seen = "\n\n----\n\n".join(screens) + "\n"
    for pattern, instead in PUT_ASIDE:
        seen = re.sub(pattern, instead, seen, flags=re.MULTILINE)
    assert seen == (RECORDINGS / f"{name}.txt").read_text("utf-8")


def test_stream(terminal):
    terminal.run("headwater stream -m scripted/story --max-tokens 60 x")
    reply = terminal.wait_for(rf"in all[^$]*^\{PROMPT}$")
    terminal.run("headwater stream 日本語の文章は単語の間に空白がないので、文字の間で改行されます。")
    wide = terminal.wait_for(rf"in all[^$]*^\{PROMPT}$")
    terminal.run("headwater stream -m nobody/model x")
    refused = terminal.wait_for(rf"configured:[^$]*^\{PROMPT}$")
    with socket_that_says_nothing() as silent:
        terminal.run(f"export HEADWATER_TARGET={silent}")
        terminal.run("headwater stream -m big/model-of-tomorrow x")
        waiting = terminal.wait_for(r"big/model-of-tomorrow( \d+ s)?\Z")
        terminal.press("C-c")
        terminal.wait_for(rf"^\{PROMPT}$")
        terminal.type("echo $?", "Enter")
        left = terminal.wait_for(r"^130$")
    check("stream", reply, wide, refused, waiting, left)


def test_chat(terminal):
    terminal.run("headwater chat")
    terminal.wait_for("^>$")
    terminal.type("half a line")
    terminal.wait_for("half a line$")
    terminal.press("C-c")
    terminal.wait_for("^>$")
    terminal.type("hello", "Enter")
    terminal.wait_for("in all\n>$")
    terminal.paste("two lines\nare one message")
    terminal.wait_for("^are one message$")
    terminal.press("Enter")
    terminal.wait_for("5 tokens[^>]*in all\n>$")
    terminal.type("/sav", "Enter")
    terminal.wait_for("makes it a message\\)\n>$")
    terminal.type("/save talk.json", "Enter")
    terminal.wait_for("^saved 4 messages.*\n>$")
    terminal.type("/save talk.json", "Enter")
    terminal.wait_for("exists already[^>]*\n>$")
    terminal.type("/load trip.yaml", "Enter")
    talked = terminal.wait_for("not JSON[^>]*\n>$")
    terminal.press("C-l")
    terminal.wait_for(r"\A>\Z")
    terminal.type("/load talk.json", "Enter")
    terminal.wait_for("^loaded 4 messages.*\n>$")
    terminal.type("/help", "Enter")
    terminal.wait_for("it ends\\.\n>$")
    terminal.type("/quit", "Enter")
    check("chat", talked, terminal.wait_for(rf"^\{PROMPT}$"))


def test_workflow_run(terminal):
    terminal.run("headwater workflow run trip.yaml")
    running = terminal.wait_for(r"walk  running  [\d.]+ s  to\n.*rest  completed")
    terminal.press("C-c")
    left = terminal.wait_for(rf"workflow cancel[^$]*^\{PROMPT}$")
    terminal.run("headwater workflow list")
    listed = terminal.wait_for(rf"running[^$]*^\{PROMPT}$")
    run_id = re.search(r"run_\S{22}", listed)
    assert run_id is not None
    terminal.run(f"headwater workflow cancel {run_id[0]}")
    terminal.wait_for("is cancelled")
    terminal.run(f"headwater workflow show {run_id[0]}")
    shown = terminal.wait_for(rf"home[^$]*^\{PROMPT}$")
    check("workflow", running, left, listed, shown)
