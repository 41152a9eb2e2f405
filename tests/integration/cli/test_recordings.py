"""The screens of a terminal of 60 columns, taken from tmux and compared with those in `recordings`.

Times, ids and the turning of the sign of life are put aside, so that a screen is equal on each machine.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers.server import ServerProcess
from tests.support.servers.silent import socket_that_says_nothing
from tests.support.terminals import PROMPT, Terminal

RECORDINGS = Path(__file__).parent / "recordings"
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
