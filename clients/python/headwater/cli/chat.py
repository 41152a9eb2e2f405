"""`headwater chat`: a conversation, line by line."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import click

from headwater.agent import Agent
from headwater.cli.commands import asking, print_reply
from headwater.cli.output import one_line
from headwater.cli.terminal import outlive
from headwater.exceptions import HeadwaterError

HELP = """\
/help        this list
/clear       forget the conversation
Several lines can be pasted; they are one message.
Ctrl-C stops a reply, or clears the line; on an empty line it ends, as Ctrl-D does."""


@click.command()
@asking
def chat(**settings: Any) -> None:
    """Talk with a model; it remembers the conversation. /help lists the commands.

    Ctrl-C stops a reply, or clears the line; on an empty line it ends, as Ctrl-D does.
    """
    outlive()
    agent = Agent(**settings)
    read = _reader()
    while True:
        try:
            prompt = read()
        except EOFError:
            return
        if not prompt.strip():
            continue
        try:
            if prompt.startswith("/"):
                click.echo(_command(agent, prompt), err=True)
            else:
                asyncio.run(print_reply(agent, prompt))
        except KeyboardInterrupt:
            click.echo("(stopped)", err=True)
        except HeadwaterError as error:
            click.echo(f"headwater: {one_line(str(error))}", err=True)


def _command(agent: Agent, line: str) -> str:
    """Does what the line says; the answer is for people."""
    name, _, argument = line.strip().partition(" ")
    match name, argument.strip():
        case "/help", "":
            return HELP
        case "/clear", "":
            agent.clear_memory()
            return "forgotten"
    return f"there is no command {one_line(line, 100)!r}; /help lists them (a space before / makes it a message)"


def _reader() -> Callable[[], str]:
    """Reads a message: on a terminal with editing and history, where Python has them."""
    if not sys.stdin.isatty():
        return lambda: input()
    readline: ModuleType | None = None
    with contextlib.suppress(ImportError):
        import readline  # gives `input` its editing and its history
    if readline is None:
        return lambda: input("> ")
    readline.parse_and_bind("set enable-bracketed-paste on")  # a paste with line feeds is one message
    lines = readline

    def read() -> str:
        typed = ""

        def interrupted(*_: object) -> None:
            nonlocal typed
            typed = lines.get_line_buffer()
            raise KeyboardInterrupt

        while True:
            usual = signal.signal(signal.SIGINT, interrupted)
            try:
                return input("> ")
            except KeyboardInterrupt:
                if not typed:
                    raise
                click.echo(err=True)
            finally:
                signal.signal(signal.SIGINT, usual)

    return read
