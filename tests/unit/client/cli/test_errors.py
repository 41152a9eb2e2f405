"""The words and the exit codes of the commands' errors; no server is needed for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from headwater.cli.group import Group
from headwater.cli.main import _MODULES, headwater
from headwater.cli.workflow.commands import workflow
from headwater.exceptions import HeadwaterError, ValidationError

ALL_THAT_CALL = [
    ["stream", "hello"],
    ["providers"],
    ["models"],
    ["workflow", "list"],
    ["workflow", "show", "run_x"],
    ["workflow", "watch", "run_x"],
    ["workflow", "cancel", "run_x"],
    ["workflow", "delete", "run_x"],
]


def run(*args: str, **variables: str) -> Result:
    """`headwater ARGS` in this process."""
    return CliRunner().invoke(headwater, args, env=variables)


@pytest.mark.parametrize("command", ALL_THAT_CALL, ids=" ".join)
@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("HEADWATER_TARGET", "nowhere", "must be HOST:PORT, such as localhost:50051"),
        ("HEADWATER_TARGET", "caf\udce9:1", "must be an address"),
        ("HEADWATER_TOKEN", "two\nlines", "must be a str of printable ASCII characters"),
        ("HEADWATER_TOKEN", "caf\udce9", "must be a str of printable ASCII characters"),
    ],
)
def test_a_mistake_in_a_variable_has_the_exit_code_of_settings(command, variable, value, words):
    done = run(*command, **{variable: value})
    assert done.exit_code == 78
    assert done.stderr.startswith(f"headwater: {variable}: {words}")


@pytest.mark.parametrize(
    ("command", "start"),
    [
        (["stream", "x", "--max-tokens", "99999999999"], "--max-tokens: must be"),
        (["stream", "x", "--timeout", "-1"], "--timeout: must be"),
        (["stream", "x", "--target", "nowhere"], "--target: must be"),
        (["stream", "x", "--token", "two\nlines"], "--token: must be"),
        (["chat", "--temperature", "nan"], "--temperature: must be"),
        (["models", "--target", ":"], "--target: must be"),
        (["workflow", "show", ""], "ID: is empty"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_errors_name_flags_and_places_and_not_the_arguments_of_python(command, start):
    done = run(*command)
    assert done.exit_code == 3
    assert done.stderr.startswith(f"headwater: {start}")


@click.command()
@click.argument("provider")
@click.option("--target")
@click.option("--timeout")
@click.option("--after", type=int)
@click.pass_obj
def failing(error: HeadwaterError, **_: object) -> None:
    raise error


@click.command()
@click.option("--target")
@click.pass_obj
def without_timeout(error: HeadwaterError, **_: object) -> None:
    raise error


@pytest.mark.parametrize(
    ("args", "error", "message"),
    [
        (
            ["failing", "x"],
            ValidationError("?", [("provider", "is empty"), ("after_sequence", "is too large"), ("steps[0]", "?")]),
            "PROVIDER: is empty; --after: is too large; steps[0]: ?",
        ),
        (
            ["failing", "x"],
            HeadwaterError("no answer; allow more with timeout=, or set target= (model=x failed)"),
            "no answer; allow more with --timeout, or set --target (model=x failed)",
        ),
        (["without-timeout"], HeadwaterError("no answer; allow more with timeout="), "no answer"),
    ],
)
def test_messages_of_the_client_are_put_into_the_words_of_the_command(args, error, message):
    group = Group("all", [failing, without_timeout])
    done = CliRunner().invoke(group, args, obj=error)
    assert done.stderr == f"headwater: {message}\n"


def test_every_text_is_checked_to_be_text():
    """A shell passes bytes of any kind; only the names of files may have any."""
    plain = [
        f"{command.name} {parameter.name}"
        for command in commands(headwater)
        for parameter in command.params
        if parameter.type is click.STRING
    ]
    assert set(plain) == {f"{command.name} token" for command in commands(headwater) if has_token(command)}


def commands(group: click.Group) -> Iterator[click.Command]:
    """All commands of the client; those of the server read their values as settings."""
    own = [command for name in _MODULES if (command := group.get_command(click.Context(group), name))]
    for command in (*own, *workflow.commands.values()):
        if not isinstance(command, click.Group):
            yield command


def has_token(command: click.Command) -> bool:
    return any(parameter.name == "token" for parameter in command.params)


def test_bytes_that_are_no_utf_8_are_called_that(tmp_path: Path):
    file = tmp_path / "plan.yaml"
    file.write_bytes(b"name: caf\xe9\n")
    bad = "caf\udce9"
    for command in (
        ["stream", bad], ["stream", "x", "-i", bad], ["models", bad], ["workflow", "run", str(file)],
        ["workflow", "start", str(file), "--context", f"k={bad}"], ["workflow", "start", str(file), "--queue", bad],
        ["workflow", "start", str(file), "--request-id", bad], ["workflow", "delete", bad],
    ):  # fmt: skip
        done = run(*command)
        assert "is not UTF-8" in done.stderr, command
        assert done.exit_code in (2, 3), command
    done = CliRunner().invoke(headwater, ["stream", "-"], input=b"caf\xe9")
    assert (done.exit_code, "standard input is not UTF-8" in done.stderr) == (2, True)
