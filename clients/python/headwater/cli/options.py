"""Options that several commands share, and what is written after them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn, TypeVar

import click


class _Text(click.ParamType[str]):
    """Text that can be sent; a shell passes bytes of any kind."""

    name = "text"

    def convert(self, value: str, param: click.Parameter | None, context: click.Context | None) -> str:
        try:
            return as_utf8(value)
        except UnicodeDecodeError:
            self.fail("is not UTF-8", param, context)


def as_utf8(argument: str) -> str:
    """An argument of the process as text. Bytes that the locale does not know are UTF-8, else UnicodeDecodeError."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return os.fsencode(argument).decode()
    return argument


TEXT = _Text()

Command = TypeVar("Command", bound=Callable[..., Any])

_AGO = re.compile(r"(\d{1,9})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def server_options(command: Command) -> Command:
    """The options of every command that talks to a server."""
    for option in (
        click.option("--token", help="Lets you into the server [HEADWATER_TOKEN]."),
        click.option(
            "--target",
            type=TEXT,
            metavar="HOST:PORT",
            help="The server, https://HOST:PORT for TLS [HEADWATER_TARGET or localhost:50051].",
        ),
    ):
        command = option(command)
    return command


def context_json(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> str:
    """The options `--context key=value` as the text of one JSON object; empty for none.

    A value that is JSON is passed on as it is written, so 3 stays 3 and 3.0 stays 3.0; any other is text.
    """
    members: dict[str, str] = {}
    for value in values:
        key, equals, text = value.partition("=")
        if not key or not equals:
            raise click.BadParameter(f"{value[:100]!r} must be key=value, such as score=0.8 or city=Rome")
        if key in members:
            raise click.BadParameter(f"the key {key[:100]!r} is given twice")
        members[key] = text if _is_json(text) else json.dumps(text, ensure_ascii=False)
    if not members:
        return ""
    return "{" + ", ".join(f"{json.dumps(key, ensure_ascii=False)}: {text}" for key, text in members.items()) + "}"


def _is_json(text: str) -> bool:
    def refuse(name: str) -> NoReturn:
        raise ValueError(f"{name} is not JSON")

    try:
        json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError):
        return False
    return True


def since(context: click.Context, parameter: click.Parameter, value: str | None) -> datetime | None:
    """A point in time: so long ago (45s, 30m, 2h, 3d, 1w), or in ISO 8601; without a zone it is local time."""
    if value is None:
        return None
    try:
        if ago := _AGO.fullmatch(value):
            return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        return datetime.fromisoformat(value).astimezone(UTC)
    except (ValueError, OverflowError):
        cure = "write how long ago, such as 45s, 30m, 2h, 3d, 1w, or a time such as 2025-03-01T09:00"
        raise click.BadParameter(f"{value[:100]!r} is no point in time; {cure}") from None
