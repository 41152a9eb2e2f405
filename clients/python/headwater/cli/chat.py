"""`headwater chat`: a conversation, message by message."""

from __future__ import annotations

import difflib
import sys
from typing import Any

import click

from headwater.agent import Agent
from headwater.cli.commands import agent_of, asking, print_reply
from headwater.cli.conversations import FileError, load, save
from headwater.cli.output import one_line, report, say
from headwater.cli.process import wait_for
from headwater.cli.prompting import reader
from headwater.cli.terminal import faint, on_terminal, outlive
from headwater.exceptions import HeadwaterError

HELP = """\
/help        this list
/save FILE   write the conversation to a new file, as JSON
/save! FILE  the same; a file that exists is replaced
/load FILE   continue the conversation of a file
/clear       forget the conversation
/quit        end, as Ctrl-D does
Several lines can be pasted; they are one message.
Ctrl-C stops a reply, or clears the line; on an empty line it ends."""

_NAMES = ("/help", "/save", "/save!", "/load", "/clear", "/quit")
_KEPT_MESSAGES = 1_000


@click.command()
@asking
def chat(**settings: Any) -> None:
    """Talk with a model; it remembers the conversation. /help lists the commands.

    Ctrl-C stops a reply, or clears the line; on an empty line it ends, as Ctrl-D does.
    """
    outlive()
    agent = agent_of(settings)
    agent.history = _KEPT_MESSAGES
    if on_terminal():
        say("/help lists the commands; Ctrl-D ends", faint)
    read = reader()
    while True:
        try:
            message = read()
        except EOFError:
            return
        if not message.strip():
            continue
        if not message.startswith("/"):
            _ask(agent, message)
        elif message.strip() in ("/quit", "/exit"):
            return
        else:
            say(_command(agent, message))


def _ask(agent: Agent, message: str) -> None:
    try:
        wait_for(print_reply(agent, message))
    except KeyboardInterrupt:
        if not sys.stdin.isatty():
            raise
        click.echo("(stopped)", err=True)
    except HeadwaterError as error:
        report(str(error))


def _command(agent: Agent, line: str) -> str:
    """Does what the line says; the answer is for people."""
    name, _, argument = line.strip().partition(" ")
    file = argument.strip()
    try:
        match name:
            case "/help" if not file:
                return HELP
            case "/clear" if not file:
                agent.clear_memory()
                return "forgotten"
            case "/save" | "/save!" | "/load" if not file:
                return f"{name} needs the name of a file: {name} FILE"
            case "/save" | "/save!":
                return save(agent, file, replace=name == "/save!")
            case "/load":
                return load(agent, file)
    except FileError as error:
        return one_line(str(error))
    return _unknown(name, file)


def _unknown(name: str, argument: str) -> str:
    if name in _NAMES:
        return f"{name} takes nothing after it, not {one_line(argument, 60)!r}"
    close = difflib.get_close_matches(name, _NAMES, n=1, cutoff=0.5)
    meant = f"; did you mean {close[0]}?" if close else ";"
    return f"there is no command {one_line(name, 60)!r}{meant} /help lists them (a space before / makes it a message)"
