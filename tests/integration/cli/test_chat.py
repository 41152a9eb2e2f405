"""`headwater chat`: its commands, and the files of its conversations."""

from __future__ import annotations

import json
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from headwater import Agent
from headwater.cli.conversations import FileError, load, save
from tests.support.servers.server import run_cli

MESSAGES = [{"role": "user", "content": "one ☃"}, {"role": "assistant", "content": "one ☃"}]


def chat(server, folder: Path, *lines: str, **options) -> CompletedProcess[str]:
    """A conversation with the echo."""
    typed = "".join(f"{line}\n" for line in lines)
    return run_cli("chat", "--target", server.target, "-m", "scripted/echo", stdin=typed, cwd=folder, **options)


def test_a_conversation_is_saved_and_continued(server, tmp_path):
    done = chat(server, tmp_path, "one ☃", "/save talk.json", "/clear", "/load talk.json", "two", "/save more.json")
    assert (done.stdout, done.returncode) == ("one ☃\ntwo\n", 0)
    assert done.stderr.splitlines() == [
        "saved 2 messages to talk.json", "forgotten", "loaded 2 messages from talk.json", "saved 4 messages to more.json",
    ]  # fmt: skip
    assert json.loads((tmp_path / "talk.json").read_text("utf-8")) == MESSAGES
    assert (tmp_path / "talk.json").stat().st_mode & 0o777 == 0o600
    assert json.loads((tmp_path / "more.json").read_text("utf-8"))[:2] == MESSAGES


def test_commands_are_listed_and_others_refused_with_the_nearest(server, tmp_path):
    done = chat(server, tmp_path, "/help", "/lod x", "/nothing", "/save", "/clear all", "/save x", "/quit", "not read")
    *listed, lod, nothing, save_what, clear_all, empty = done.stderr.splitlines()
    assert (done.stdout, done.returncode) == ("", 0)
    assert [line.split()[0] for line in listed[:6]] == ["/help", "/save", "/save!", "/load", "/clear", "/quit"]
    assert lod.startswith("there is no command '/lod'; did you mean /load? /help lists them")
    assert nothing.startswith("there is no command '/nothing'; /help lists them")
    assert save_what == "/save needs the name of a file: /save FILE"
    assert clear_all == "/clear takes nothing after it, not 'all'"
    assert empty == "there is nothing to save yet"


def test_input_that_is_not_utf_8_is_called_that_and_in_any_locale_it_is_read_as_utf_8(server, tmp_path):
    variables = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "utf-8"}
    assert chat(server, tmp_path, "é", variables=variables).stdout == "é\n"


@pytest.fixture
def agent() -> Agent:
    return Agent(messages=MESSAGES)


def test_a_file_is_replaced_only_when_that_is_said(agent, tmp_path):
    file = str(tmp_path / "talk.json")
    Path(file).write_text("precious")
    with pytest.raises(FileError, match=r"exists already; name another file, or replace it with /save! "):
        save(agent, file, replace=False)
    assert Path(file).read_text() == "precious"
    assert save(agent, file, replace=True) == f"saved 2 messages to {file}, in place of its former content"
    assert json.loads(Path(file).read_text("utf-8")) == MESSAGES


@pytest.mark.parametrize("file", ["", "nowhere/talk.json", "nul\0.json", "~nobody-of-that-name/x"])
def test_a_file_that_cannot_be_used_says_why(agent, tmp_path, file):
    name = str(tmp_path / file) if not file.startswith("~") else file
    with pytest.raises(FileError, match=r"cannot be written: |exists already"):
        save(agent, name, replace=False)
    with pytest.raises(FileError, match="cannot be read: "):
        load(agent, name)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is not JSON"),
        (b"# notes", "it is not JSON"),
        (b"caf\xe9", "it is not UTF-8"),
        (b"[" * 100_000, "it is not JSON"),
        (b'{"role": "user"}', "messages: must be a list"),
        (b"[1]", r"messages\[0\]: must be a dict"),
        (b'[{"role": "user", "content": "and the reply?"}]', "messages: must end with a reply"),
    ],
)
def test_a_foreign_file_is_refused_and_the_conversation_stays(agent, tmp_path, content, why):
    file = tmp_path / "file"
    file.write_bytes(content)
    with pytest.raises(FileError, match=f"is no conversation: {why}"):
        load(agent, str(file))
    assert agent.messages == MESSAGES


def test_an_image_survives(tmp_path):
    image = {"type": "image", "data": b"\x89PNG", "media_type": "image/png"}
    agent = Agent(messages=[{"role": "user", "content": [image]}, {"role": "assistant", "content": "a cat"}])
    file = str(tmp_path / "talk.json")
    save(agent, file, replace=False)
    other = Agent()
    assert load(other, file) == f"loaded 2 messages from {file}"
    assert other.messages == agent.messages


def test_a_longer_conversation_than_is_kept_is_said_to_be_cut(tmp_path):
    file = tmp_path / "talk.json"
    file.write_text(json.dumps(MESSAGES * 20))
    assert load(Agent(history=10), str(file)).endswith("; only the last 10 are kept")
