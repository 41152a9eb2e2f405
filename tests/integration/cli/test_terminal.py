"""The command line on a terminal, and Ctrl-C before a command has begun."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from tests.support.servers.server import ServerProcess, clean_environment, run_cli
from tests.support.servers.silent import socket_that_says_nothing

ERASE = "\r\x1b[K"


@pytest.fixture(scope="module")
def target() -> Iterator[str]:
    with ServerProcess("--scripted", "--default-model", "scripted/echo") as server:
        yield server.target


class Terminal:
    """`headwater ARGS` on a terminal with these columns, from `with` to the end of its block."""

    def __init__(self, *args: str, columns: int = 60, **variables: str) -> None:
        self._args = args
        self._columns = columns
        self._variables = {"TERM": "xterm", **variables}
        self.written = ""

    def __enter__(self) -> Self:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, self._columns, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "headwater.cli", *self._args],
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
            env=clean_environment(**self._variables),
            preexec_fn=lambda: fcntl.ioctl(theirs, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(theirs)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def interrupt(self) -> None:
        """Presses Ctrl-C until something happens: readline sees none between its prompt and its first wait."""
        for _ in range(10):
            self.type("\x03")
            if select.select([self._ours], [], [], 2)[0]:
                return
        raise AssertionError("Ctrl-C has no effect")

    def read_until(self, words: str) -> str:
        """The output from here to these words."""
        read = ""
        while words not in read:
            assert select.select([self._ours], [], [], 20)[0], read
            read += os.read(self._ours, 4096).decode(errors="replace")
        self.written += read
        return read

    def rest(self) -> str:
        """The output to the end of the command."""
        read = b""
        try:
            while piece := os.read(self._ours, 4096):
                read += piece
        except OSError:
            pass  # that is how a terminal says that the other side has closed it
        self.written += read.decode(errors="replace")
        self.process.wait(20)
        return self.written


COMMANDS = [
    ["stream", "-m", "scripted/story", "x"],
    ["chat", "-m", "scripted/story"],
    ["providers"],
    ["models", "scripted"],
    ["streams"],
    ["stream", "--resume", "str_x"],
    ["cancel", "str_x"],
    ["workflow", "list"],
    ["workflow", "watch", "run_x"],
    ["worker", "crew:agent", "--queue", "q"],
    ["serve", "--port", "0", "--scripted"],
    ["serve", "--port", "0", "--scripted", "--processes", "2"],
    ["config"],
]


BEFORE_THE_COMMAND = 'Traceback (most recent call last):\n  File "<string>", line 1, in <module>\nKeyboardInterrupt\n'
"""The signal came between the sign that the program has begun and its command: a busy machine had stopped it there."""


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: "-".join(command[:2]))
@pytest.mark.parametrize("hidden", [0.0, 0.15, 0.3, 0.6])
def test_ctrl_c_in_the_first_second_gives_130_and_no_traceback(tmp_path, command, hidden):
    """The command is interrupted so many seconds after its program has begun; its calls get no answer."""
    code, errors = interrupted(tmp_path, command, hidden)
    while errors == BEFORE_THE_COMMAND:
        code, errors = interrupted(tmp_path, command, hidden)
    assert "Traceback" not in errors
    ended = command[0] in ("config", "serve")  # serve closes what it has begun and ends well
    assert code in ((0, 130) if ended else (130,)), errors


def interrupted(folder: Path, command: list[str], hidden: float) -> tuple[int, str]:
    """The exit code and the errors of a command that gets Ctrl-C after so many seconds."""
    (folder / "crew.py").write_text("import time\ntime.sleep(20)\n")
    # A server that accepts and says nothing: a call that was begun waits.
    with socket_that_says_nothing() as silent:
        code = "from headwater.cli import main; print('!', flush=True); main()"
        process = subprocess.Popen(
            [sys.executable, "-c", code, *command], cwd=folder, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=clean_environment(HEADWATER_TARGET=silent),
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.read(1) == "!"
        time.sleep(hidden + 0.03)  # the moment of the signal is what is varied
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    return process.returncode, errors


def test_words_wrap_at_the_width_and_the_model_is_named_until_the_first_token(target):
    options = ["--target", target, "-m", "scripted/story", "--max-tokens", "60"]
    with Terminal("stream", *options, "x", TERM="xterm") as terminal:
        written = terminal.rest()
    assert "scripted/story" in written.split(ERASE)[1]
    reply = re.sub(r"\x1b\[\d*m", "", written.rpartition(ERASE)[2]).split("\r\n")
    assert reply[0] == "This is a scripted reply, not the words of a model. High"
    assert max(map(len, reply)) <= 60
    assert terminal.process.returncode == 0


def test_a_reply_that_is_resumed_looks_as_one_that_is_asked_for(target):
    asked = run_cli("stream", "--target", target, "-m", "scripted/story", "--max-tokens", "60", "--json", "x")
    stream_id = json.loads(asked.stdout.splitlines()[0])["metadata"]["stream_id"]
    with Terminal("stream", "--target", target, "--resume", stream_id) as terminal:
        written = terminal.rest()
    assert terminal.process.returncode == 0, written
    assert stream_id in written.split(ERASE)[1]
    reply = re.sub(r"\x1b\[\d*m", "", written.rpartition(ERASE)[2]).split("\r\n")
    assert reply[0] == "This is a scripted reply, not the words of a model. High"
    assert max(map(len, reply)) <= 60
    assert "60 tokens" in written


@pytest.mark.parametrize(
    "variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"TERM": ""}], ids=["NO_COLOR", "dumb", "none"]
)
def test_without_colours_no_letter_is_faint(target, variables):
    with Terminal("stream", "--target", target, "hello", **variables) as terminal:
        written = terminal.rest()
    assert "\x1b[2m" not in written
    assert "1 token" in written
    if "TERM" in variables:
        assert "\x1b" not in written
        assert "waiting for the server's default model ..." in written


def test_a_pipe_gets_no_sign_of_life(target):
    done = run_cli("stream", "--target", target, "hello")
    assert (done.stdout, done.stderr) == ("hello\n", "")


SNOWMAN = "snow \u2603 man"
PLAN = f"name: {SNOWMAN}\nagent: {{model: scripted/echo}}\nsteps: [{{name: {SNOWMAN}, action: {SNOWMAN}}}]\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["stream", SNOWMAN], 0),
        (["stream", SNOWMAN, "--json"], 0),
        (["models", SNOWMAN], 3),
        (["workflow", "run", "\u2603.yaml"], 0),
        (["workflow", "list"], 0),
        (["workflow", "validate", "\u2603.txt"], 1),
        (["workflow", "run", "\u2603.nowhere"], 2),
        (["\u2603"], 2),
        (["worker", "\u2603", "--queue", "q"], 2),
        (["config", "--config", "\u2603.toml"], 78),
    ],
    ids=lambda value: "-".join(value[:2]) if isinstance(value, list) else "",
)
def test_what_the_encoding_cannot_show_is_replaced(target, tmp_path, command, code, encoding):
    (tmp_path / "\u2603.yaml").write_text(PLAN, "utf-8")
    (tmp_path / "\u2603.txt").write_text(f"\u2603: {SNOWMAN}\n", "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "headwater.cli", *command], cwd=tmp_path, capture_output=True, stdin=subprocess.DEVNULL,
        env=clean_environment(PYTHONIOENCODING=encoding, HEADWATER_TARGET=target), check=False,
    )  # fmt: skip
    written = (done.stdout + done.stderr).decode(encoding)
    assert done.returncode == code, written
    assert "Traceback" not in written
    assert "?" in written or "--json" in command or "list" in command


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-"])
def test_a_standard_stream_may_be_closed(target, closed):
    command = f"{sys.executable} -m headwater.cli stream hello {closed}"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False,
        env=clean_environment(HEADWATER_TARGET=target),
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_input_that_is_not_utf_8_is_called_that(target):
    command = [sys.executable, "-m", "headwater.cli", "stream", "--target", target]
    for arguments, given in ([b"-"], b"caf\xe9"), ([b"caf\xe9"], b""), ([b"x", b"-i", b"\xe9"], b""):
        done = subprocess.run([*command, *arguments], input=given, capture_output=True, env=clean_environment())
        assert done.returncode == 2
        assert b"not UTF-8" in done.stderr
        assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("flag", "value"), [("--temperature", "9"), ("--max-tokens", "-1"), ("--timeout", "-1"), ("--target", "nowhere")]
)
def test_errors_speak_of_flags(target, flag, value):
    done = run_cli("stream", "hello", flag, value, variables={"HEADWATER_TARGET": target})
    assert done.returncode == 3
    assert done.stderr.startswith(f"headwater: {flag}: ")


def test_the_list_of_runs_fits_its_terminal(target, tmp_path):
    plan = tmp_path / "plan.yaml"
    plan.write_text("name: a-workflow-with-a-long-name-indeed\nsteps:\n- name: a\n  action: hello\n")
    assert run_cli("workflow", "run", str(plan), variables={"HEADWATER_TARGET": target}).returncode == 0
    with Terminal("workflow", "list", "--target", target, columns=60) as terminal:
        heads, run = terminal.rest().split("\r\n")[:2]
    assert heads.split() == ["RUN", "WORKFLOW", "STATUS"]
    assert len(run) <= 60
    assert re.fullmatch(r"run_\S{22}  a-workflow-\S*…  completed", run)


def test_chat_clears_a_half_typed_line_and_ends_at_an_empty_one(target):
    with Terminal("chat", "--target", target) as terminal:
        terminal.read_until("> ")
        terminal.type("half a li")
        terminal.read_until("li")
        terminal.interrupt()
        terminal.read_until("> ")
        terminal.type("whole\r")
        assert "half" not in terminal.read_until("1 token")
        terminal.read_until("> ")
        terminal.interrupt()
        terminal.rest()
    assert terminal.process.returncode == 130


def test_several_lines_that_are_pasted_are_one_message(target):
    with Terminal("chat", "--target", target) as terminal:
        terminal.read_until("> ")
        terminal.type("\x1b[200~one\ntwo\x1b[201~\r")
        assert f"{ERASE}one\r\ntwo\r\n" in terminal.read_until("2 tokens")


def test_the_commands_of_chat_are_listed_and_a_misspelt_one_is_refused(target):
    done = run_cli("chat", "--target", target, stdin="/help\nhello\n/clear\n/nothing\n")
    assert (done.stdout, done.returncode) == ("hello\n", 0)
    for said in "/clear ", "forgotten", "no command '/nothing'":
        assert said in done.stderr
