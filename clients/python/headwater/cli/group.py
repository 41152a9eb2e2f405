"""A group of commands, and the words and exit codes of their errors."""

from __future__ import annotations

import os
import re
import sys
from typing import Any

import click

from headwater.cli import INTERRUPTED
from headwater.cli.output import fail
from headwater.exceptions import (
    AuthenticationError,
    HeadwaterError,
    MessageTooLargeError,
    ProviderError,
    ProviderNotFoundError,
    ServerOverloadedError,
    ServerUnavailableError,
    StreamExpiredError,
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
    (StreamExpiredError, 3),
    (StreamTimeoutError, 6),
    (StreamInterruptedError, 5),
    (ProviderError, 4),
    (ServerUnavailableError, 7),
    (ServerOverloadedError, 7),
    (AuthenticationError, 8),
    (HeadwaterError, 1),
)
WRONG_SETTING = 78
"""EX_CONFIG of sysexits.h: a variable of the environment or a file of settings has a mistake."""

_VARIABLE = re.compile(r"HEADWATER_[A-Z_]+")
_FIELDS = {
    "context_json": "context",
    "after_sequence": "after",
    "workflow_name": "name",
    "page_size": "limit",
    "min_create_time": "since",
}
"""Fields of the contract that a command has under another name."""
_CALLS = {
    "ListStreams with show_ended": "`headwater streams`",
    "ListStreams": "`headwater streams`",
    "ListWorkflowRuns": "`headwater workflow list`",
    "ResumeWorkflowRun": "`headwater workflow resume`",
}
"""The commands for calls of the contract that the server's advice names."""
_MORE_TIME = "; allow more with timeout="
_NAME = re.compile(r"\b([a-z][a-z_]*)=(?![\w\"'.\[{-])")


class Group(click.Group):
    """Ends the process with one line and the exit code of its kind for each error of a command."""

    def invoke(self, context: click.Context) -> Any:
        """Runs the command."""
        try:
            return super().invoke(context)
        except HeadwaterError as error:
            command = self.get_command(context, context.invoked_subcommand or "")
            fail(_in_flags(error, command.params if command else []), _exit_code(error))
        except BrokenPipeError:  # before OSError, which it is
            # The reader of our output has gone; Python would complain once more when it flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except KeyboardInterrupt:
            click.echo(err=True)
            sys.exit(INTERRUPTED)

    def main(self, *args: Any, **extra: Any) -> Any:
        """Reads the command line and runs the command; an output that fails may be that of --help."""
        try:
            return super().main(*args, **extra)
        except OSError as error:
            fail(f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error), 1)


def _exit_code(error: HeadwaterError) -> int:
    fields = [field for field, _ in error.violations] if isinstance(error, ValidationError) else []
    if fields and all(map(_VARIABLE.fullmatch, fields)):
        return WRONG_SETTING
    return next(code for kind, code in EXIT_CODES if isinstance(error, kind))


def _in_flags(error: HeadwaterError, parameters: list[click.Parameter]) -> str:
    """The client's message with the names of arguments as the command has them: max_tokens is --max-tokens."""
    names = {parameter.name: _shown(parameter) for parameter in parameters}

    def name(field: str) -> str:
        return names.get(_FIELDS.get(field, field), field)

    if isinstance(error, ValidationError) and error.violations:
        return "; ".join(f"{name(field)}: {text}" if field else text for field, text in error.violations)
    message = str(error)
    for call, command in _CALLS.items():
        message = message.replace(call, command)
    if "provider" in names:
        message = message.replace(" as provider,", f" as {names['provider']},")
    if "timeout" not in names:
        message = message.replace(_MORE_TIME, "")
    return _NAME.sub(lambda found: names.get(found[1], found[0]), message)


def _shown(parameter: click.Parameter) -> str:
    """The name of a parameter for people: the longest of its flags, or its place."""
    return max(parameter.opts, key=len) if isinstance(parameter, click.Option) else parameter.human_readable_name
