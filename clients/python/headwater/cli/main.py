"""The group of commands, and the exit codes of their errors."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING

import click

from headwater.cli.group import Group
from headwater.cli.process import prepare_streams

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

SERVER_CURE = "install headwater with its extra `server`: pip install '.[server]' in its folder"

EPILOG = """\b
Exit codes:
  0  done; the run completed        6  no answer in time
  1  another error; the run failed  7  the server cannot be reached
  2  wrong usage                    8  not let in
  3  the request is refused         9  the run was cancelled
  4  the provider failed           10  the run has not ended
  5  the reply was cut             78  a mistake in the settings
                                  130  stopped with Ctrl-C; a run continues
"""


_MODULES = {
    "chat": "headwater.cli.chat",
    "cancel": "headwater.cli.streams",
    "models": "headwater.cli.commands",
    "providers": "headwater.cli.commands",
    "stream": "headwater.cli.commands",
    "streams": "headwater.cli.streams",
    "top": "headwater.cli.top.command",
    "worker": "headwater.cli.worker",
    "workflow": "headwater.cli.workflow.commands",
}


class _Commands(Group):
    """Imports a command when it is asked for, so that none waits for the imports of the others.

    The commands that live outside the client are found by the entry points of its distribution.
    """

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted({*_MODULES, *_elsewhere()})

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        with _no_garbage_collection():
            if module := _MODULES.get(name):
                command: click.Command = getattr(import_module(module), name)
                return command
            point = _elsewhere().get(name)
            return _load(point) if point else None


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Saves a tenth of the time of imports, whose objects stay."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _elsewhere() -> dict[str, EntryPoint]:
    # Not at the top: the client's own commands do without it. The
    # entry points of this distribution alone are read: those of all that are installed took 15 times as long.
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        points = distribution("headwater").entry_points
    except PackageNotFoundError:  # it is used from its sources, and not installed
        return {}
    return {point.name: point for point in points.select(group="headwater.commands")}


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


@click.group(cls=_Commands, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="headwater", message="headwater %(version)s")
def headwater() -> None:
    """Stream replies of language models over gRPC."""


def run() -> None:
    """Runs the command that the process was started with."""
    prepare_streams()
    headwater(prog_name="headwater")
