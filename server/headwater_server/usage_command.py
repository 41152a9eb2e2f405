"""`headwater usage`: the tokens that callers have used."""

from __future__ import annotations

import os
import sqlite3
import sys
from pathlib import Path
from typing import Any

import click

from headwater_server.callers.ledger import monthly_use
from headwater_server.config import CONFIG_EXIT, ConfigError, load


@click.command()
@click.option("--config", "file", type=click.Path(path_type=Path), help="TOML file [HEADWATER_CONFIG].")
@click.option("--data-dir", help="Folder of the server's data [~/.local/share/headwater].")
def usage(file: Path | None, data_dir: str | None) -> None:
    """List the tokens and requests of each caller with a monthly limit: month by UTC, caller, tokens, requests.

    Requests that still run are not in it. The last 13 months are kept.
    """
    flags: dict[tuple[str, ...], Any] = {("server", "data_dir"): data_dir} if data_dir else {}
    try:
        found = monthly_use(Path(load(file, os.environ, flags).settings.server.data_dir))
    except ConfigError as error:
        for mistake in error.mistakes:
            click.echo(f"headwater: {mistake}", err=True)
        sys.exit(CONFIG_EXIT)
    except (OSError, sqlite3.Error) as error:
        click.echo(f"headwater: the accounts of callers cannot be read: {error}", err=True)
        sys.exit(1)
    for use in found:
        name = use.caller if use.caller.isprintable() else ascii(use.caller)  # a terminal obeys what it is sent
        click.echo(f"{use.month}  {name or '-'}  {use.tokens}  {use.requests}")
