"""The group of commands, and the exit codes of their errors."""

from __future__ import annotations

import os
import re
import signal
import sys
from importlib.metadata import EntryPoint, entry_points, version
from typing import Any

import click

from headwater.cli import INTERRUPTED, chat, commands, worker
from headwater.cli.output import fail
from headwater.cli.workflow import commands as workflow
from headwater.exceptions import (
    AuthenticationError,
    HeadwaterError,
    MessageTooLargeError,
    ProviderError,
    ProviderNotFoundError,
    ServerOverloadedError,
    ServerUnavailableError,
    StreamInterruptedError,
    StreamTimeoutError,
    ValidationError,
    WorkflowError,
)

# The first that fits counts.
EXIT_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (ValidationError, 3),
    (WorkflowError, 3),
    (ProviderNotFoundError, 3),
    (MessageTooLargeError, 3),
    (StreamTimeoutError, 6),
    (StreamInterruptedError, 5),
    (ProviderError, 4),
    (ServerUnavailableError, 7),
    (ServerOverloadedError, 7),
    (AuthenticationError, 8),
    (HeadwaterError, 1),
)

SERVER_CURE = "install headwater with its extra `server`: pip install '.[server]' in its folder"

WRONG_USAGE = 2
_FLAGS = "target|token|timeout|model|provider|instructions|temperature|max_tokens|queue|concurrency|context"
_ARGUMENT = re.compile(rf"^({_FLAGS})(?=:)|\b({_FLAGS})=")

EPILOG = """\b
Exit codes:
  0  done; the run completed        6  no answer in time
  1  another error; the run failed  7  the server cannot be reached
  2  wrong usage                    8  not let in
  3  the request is refused         9  the run was cancelled
  4  the provider failed           10  the run has not ended
  5  the reply was cut             78  serve, config: a mistake in the settings
                                  130  stopped with Ctrl-C; a run continues
"""


class _Group(click.Group):
    """Finds the commands that live outside the client by the entry points of its distribution."""

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted({*super().list_commands(context), *_elsewhere()})

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        command = super().get_command(context, name)
        point = _elsewhere().get(name)
        return command or (_load(point) if point else None)

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        found = super().resolve_command(context, args)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # the imports are done; a command may have to clean up
        return found

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except HeadwaterError as error:
            fail(_in_flags(str(error)), next(code for kind, code in EXIT_CODES if isinstance(error, kind)))
        except BrokenPipeError:  # before OSError, which it is
            # The reader of our output has gone; Python would complain once more when it flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except OSError as error:
            click.echo(f"headwater: {error.strerror or error}", err=True)
            sys.exit(1)
        except KeyboardInterrupt:
            click.echo(err=True)
            sys.exit(INTERRUPTED)
        except UnicodeDecodeError:
            fail("standard input is not UTF-8; convert it, for example with iconv", WRONG_USAGE)


def _in_flags(message: str) -> str:
    """The client's message with its arguments as the flags that they are here."""
    found = _ARGUMENT.sub(lambda match: f"--{(match[1] or match[2]).replace('_', '-')}", message)
    return found.removeprefix("prompt: ") if found == message else found


def _elsewhere() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group="headwater.commands")}


def _load(point: EntryPoint) -> click.Command:
    try:
        command: click.Command = point.load()
    except ModuleNotFoundError as error:
        missing = str(error.name)

        @click.command(
            point.name,
            help=f"Needs the server's packages ({missing} is missing): install headwater with its extra `server`.",
            context_settings={"ignore_unknown_options": True},
        )
        @click.argument("arguments", nargs=-1)
        def unavailable(arguments: tuple[str, ...]) -> None:
            sys.exit(f"headwater: {point.name} needs the server's packages ({missing} is missing): {SERVER_CURE}")

        return unavailable
    return command


@click.group(cls=_Group, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("headwater"), message="headwater %(version)s")
def headwater() -> None:
    """Stream replies of language models over gRPC."""


for _command in (
    *(commands.stream, chat.chat, commands.providers, commands.models),
    *(workflow.workflow, worker.worker),
):
    headwater.add_command(_command)
