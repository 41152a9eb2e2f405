"""The commands of a terminal, with marked secrets in their settings, environment and answers: none is printed."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headwater import Agent
from headwater.exceptions import HeadwaterError
from tests.support.secrets.echo import SHAPES, Echo
from tests.support.secrets.marks import CONTENT, KEYS, lines_with, secret, words
from tests.support.secrets.planted import Planted, plant
from tests.support.servers.server import OwnThread, ServerProcess, run_cli

PROMPT = words("prompt")


@pytest.fixture(scope="module")
def echo() -> Iterator[Echo]:
    started = Echo()
    with OwnThread(started):
        yield started


@pytest.fixture
def planted(echo: Echo, tmp_path: Path) -> Planted:
    return plant(tmp_path, echo.url)


def printed(planted: Planted, *args: str, code: int | None = 0, **variables: str) -> str:
    """The output of a command. `code`: its exit code; None for any that is a failure."""
    done = run_cli(*args, variables={**planted.variables, **variables}, cwd=planted.folder / "work")
    assert done.returncode == code if code is not None else done.returncode != 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    "args",
    [("config",), ("token", "list"), ("--help",), ("serve", "--help"), ("stream", "--help"), ("config", "--help")],
    ids=" ".join,
)
def test_commands_that_show_settings_show_no_secret(args, planted):
    text = printed(planted, *args)
    assert text
    assert lines_with(text, (*KEYS, *CONTENT)) == []


MISTAKES = [
    ("api_key_env = ", "api_key_env = {}\n# "),
    ("token_command = ", "token_command = {}\n# "),
    ("allow_caller_api_keys = true", "allow_caller_api_keys = {}"),
    ("[server]", "[server]\n{} = 1"),
    ("[server]", "[server]\nadmin_address = {}"),
    ("[server]", "[server]\nlog_level = {}"),
    ("[providers.chat]", "[providers.{}]\n"),
    ('type = "ollama"', "type = {}"),
    ("[server]", "[server] {"),
]


@pytest.mark.parametrize(("place", "instead"), MISTAKES, ids=lambda text: text.strip()[:30])
def test_settings_with_a_mistake_are_refused_without_a_secret(place, instead, planted):
    file = planted.folder / "headwater.toml"
    file.write_text(file.read_text().replace(place, instead.replace("{}", f'"{secret("file_key")}"'), 1))
    command = "serve" if place == "api_key_env = " else "config"  # both read them in the same way
    assert lines_with(printed(planted, command, code=78), KEYS) == []


def test_a_key_in_the_place_of_the_name_of_its_file_is_not_shown(planted):
    file = planted.folder / "headwater.toml"
    file.write_text(file.read_text().replace("api_key_file = ", f'api_key_file = "{secret("file_key")}" # '))
    assert lines_with(printed(planted, "config"), KEYS) == []


def test_a_key_that_cannot_be_read_or_sent_is_no_part_of_the_error(planted):
    (planted.folder / "key").write_text(f"{secret('file_key')}\n{secret('file_key')}\n")
    (planted.folder / "token").write_text(f"two words {secret('command_key')}")
    with ServerProcess(variables=planted.variables, folder=planted.folder / "work", fresh=True) as server:
        target = {"HEADWATER_TARGET": server.target, "HEADWATER_TOKEN": planted.tokens["right_token"]}
        texts = [
            printed(planted, "stream", "--model", f"{provider}/m", PROMPT, code=None, **target)
            for provider in ("claude", "responses")
        ]
    assert lines_with("\n".join([*texts, server.log]), KEYS) == []


async def test_failing_calls_of_a_terminal_and_of_a_program_show_no_key(planted, echo):
    variables = {"HEADWATER_ALLOW_CALLER_API_KEYS": "true", "HEADWATER_MAX_ATTEMPTS": "1"}
    texts = []
    with ServerProcess(
        variables={**planted.variables, **variables}, folder=planted.folder / "work", fresh=True
    ) as server:
        target = {"HEADWATER_TARGET": server.target}
        for shape in ("keys in an error", "a refused key", "encoded keys", "an error among events", "malformed events"):
            assert shape in SHAPES
            echo.shape = shape
            right = {**target, "HEADWATER_TOKEN": planted.tokens["right_token"]}
            texts.append(printed(planted, "stream", "--model", "chat/m", PROMPT, code=None, **right))
            agent = Agent(
                model="chat/m",
                target=server.target,
                token=planted.tokens["right_token"],
                api_key=secret("callers_key"),
            )
            with pytest.raises(HeadwaterError) as caught:
                await agent.arun(PROMPT)
            texts += [
                repr(agent),
                repr(caught.value),
                str(caught.value),
                str(vars(caught.value)),
                str(caught.getrepr()),
            ]
        wrong = {**target, "HEADWATER_TOKEN": planted.tokens["wrong_token"]}
        for command in (("stream", PROMPT), ("streams",), ("workflow", "list")):
            texts.append(printed(planted, *command, code=None, **wrong))
        command = ("stream", "--model", "chat/m", "--token", planted.tokens["revoked_token"], PROMPT)
        texts.append(printed(planted, *command, code=None, **target))
    assert lines_with("\n".join([*texts, server.log]), KEYS) == []


class Crashing(ServerProcess):
    """A server whose log ends with Python's report of its crash."""

    expected_code = -signal.SIGABRT

    @property
    def events(self) -> list[dict[str, Any]]:
        """None: the report is no event."""
        return []


@pytest.mark.parametrize("processes", [1, 2])
def test_a_server_that_crashes_leaves_no_image_of_its_memory(processes, planted):
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    try:
        server = Crashing(variables=planted.variables, processes=processes, folder=planted.folder / "work", fresh=True)
        with server:
            pids = [server.process.pid, *children(server.process.pid)]
            assert {core_limit(pid) for pid in pids} == {"1" if hard else "0"}
            assert len(pids) >= processes
            server.process.send_signal(signal.SIGABRT)
            server.process.wait(10)
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))
    assert list((planted.folder / "work").iterdir()) == []


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def core_limit(pid: int) -> str:
    line = next(line for line in Path(f"/proc/{pid}/limits").read_text().splitlines() if line.startswith("Max core"))
    return line.split()[4]
