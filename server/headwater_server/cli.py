"""The commands of the server: `headwater serve`, `config`, `reload`, `backup`, `token` and `dev-cert`."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import click
from pydantic import BaseModel

from headwater_server.config import CONFIG_EXIT, Config, ConfigError, load
from headwater_server.domain.secret_text import named_variable, shown_command, shown_value, without_secrets
from headwater_server.processes.core_dumps import write_no_core_files
from headwater_server.providers.types import TYPES

INTERRUPTED = 130
"""The exit code of Ctrl-C before the server listens."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
"""A key of TOML that needs no quotes."""

_FLAGS = {name: kind.flag for name, kind in TYPES.items() if kind.flag}


def _options(command: Any) -> Any:
    """The flags that serve and config share; config shows what they would do."""
    for option in reversed(
        (
            click.option("--config", "file", type=click.Path(path_type=Path), help="TOML file [HEADWATER_CONFIG]."),
            click.option("--host", help="Address to listen on, or unix:PATH [127.0.0.1]."),
            click.option("--port", type=int, help="Port to listen on, 0 for any free one [50051]."),
            click.option("--tls-cert-file", help="Certificate in PEM; callers then need TLS."),
            click.option("--tls-key-file", help="Its private key in PEM."),
            click.option("--tls-client-ca-file", help="Authorities whose certificates callers must have, in PEM."),
            click.option("--insecure", is_flag=True, help="Do without TLS or callers where others reach the port."),
            click.option("--processes", type=int, help="Processes that share the port [1]."),
            click.option("--max-concurrent-streams", type=int, help="Calls at once on a connection, 0: any [2500]."),
            click.option("--data-dir", help="Folder of the runs of workflows [~/.local/share/headwater]."),
            click.option("--default-model", help="Model that answers when a request names none."),
            *(click.option(f"--{name}", is_flag=True, help=flag.help) for name, flag in _FLAGS.items()),
            click.option("--log-level", help="debug, info, warning or error [info]."),
            click.option("--log-format", help="json, text, or auto: text on a terminal [auto]."),
        )
    ):
        command = option(command)
    return command


def _load(
    file: Path | None,
    host: str | None,
    port: int | None,
    tls_cert_file: str | None,
    tls_key_file: str | None,
    tls_client_ca_file: str | None,
    insecure: bool,
    processes: int | None,
    max_concurrent_streams: int | None,
    data_dir: str | None,
    default_model: str | None,
    log_level: str | None,
    log_format: str | None,
    **switches: bool,
) -> Config:
    flags: dict[tuple[str, ...], Any] = {
        ("server", "host"): host,
        ("server", "port"): port,
        ("server", "tls_cert_file"): tls_cert_file,
        ("server", "tls_key_file"): tls_key_file,
        ("server", "tls_client_ca_file"): tls_client_ca_file,
        ("server", "insecure"): insecure or None,
        ("server", "processes"): processes,
        ("server", "max_concurrent_streams"): max_concurrent_streams,
        ("server", "data_dir"): data_dir,
        ("server", "default_model"): default_model,
        ("server", "log_level"): log_level,
        ("server", "log_format"): log_format,
        **{("providers", name, flag.key): switches[name] or None for name, flag in _FLAGS.items()},
    }
    try:
        return load(file, os.environ, {path: value for path, value in flags.items() if value is not None})
    except ConfigError as error:
        _refuse(error)


def _refuse(error: ConfigError) -> NoReturn:
    for mistake in error.mistakes:
        click.echo(f"headwater: {mistake}", err=True)
    sys.exit(CONFIG_EXIT)


@click.command()
@_options
def serve(**flags: Any) -> None:
    """Serve agents over gRPC until stopped.

    Settings come from defaults, a TOML file, the environment and flags, each over the one before; `headwater config`
    shows what is in force. Keys of providers: OPENAI_API_KEY, ANTHROPIC_API_KEY, GEMINI_API_KEY; address of Ollama:
    OLLAMA_HOST.
    """
    # The imports take a second. A KeyboardInterrupt in one of them, or before the loop has its signals, would print a
    # traceback; nothing is open yet that must be closed.
    signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a server outlives its terminal; once it listens, this is a reload
    write_no_core_files()
    loaded = _load(**flags)
    if loaded.settings.server.processes > 1:
        from headwater_server.processes.supervisor import become

        become(loaded.to_json())
    import uvloop

    from headwater_server.processes import prepare_imports  # noqa: F401  before the others

    # isort: split
    from headwater_server.bootstrap import exit_code_of
    from headwater_server.bootstrap import serve as run
    from headwater_server.domain.errors import HeadwaterError
    from headwater_server.processes.large_blocks import give_back_large_blocks
    from headwater_server.processes.open_files import raise_open_files
    from headwater_server.processes.ready import say_ready
    from headwater_server.processes.reload_here import follow_signal
    from headwater_server.processes.systemd import with_signs_of_life
    from headwater_server.telemetry.logging import configure_logging
    from headwater_server.telemetry.native_lines import native_lines_as_events
    from headwater_server.transport.port import PortTakenError
    from headwater_server.workflows.journal.base import JournalError

    server = loaded.settings.server
    configure_logging(server.log_level, server.log_format)
    raise_open_files()
    give_back_large_blocks()
    try:
        with native_lines_as_events(server.log_format):
            uvloop.run(with_signs_of_life(run(loaded, say_ready, partial(follow_signal, loaded))))
    except ConfigError as error:
        _refuse(error)
    except (PortTakenError, JournalError, HeadwaterError) as error:
        click.echo(f"headwater: {error}", err=True)
        sys.exit(exit_code_of(error))


@click.command()
@_options
def config(**flags: Any) -> None:
    """Show the settings in force and where each comes from, as TOML; secrets are not shown."""
    loaded = _load(**flags)
    click.echo(render(loaded), nl=False)
    if size := _journal_mib(Path(loaded.settings.server.data_dir)):
        click.echo(f"# the journal in data_dir has {size:.1f} MiB of {loaded.settings.server.journal_mib}")
    try:
        click.echo(f"# {_who_answers(loaded)}")
    except ConfigError as error:
        _refuse(error)


@click.command()
@click.argument("target", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--config", "file", type=click.Path(path_type=Path), help="TOML file [HEADWATER_CONFIG].")
@click.option("--data-dir", help="Folder of the runs of workflows [~/.local/share/headwater].")
def backup(target: Path, file: Path | None, data_dir: str | None) -> None:
    """Copy the runs of workflows to FILE, also while the server runs.

    To restore, put the copy as headwater.db into an empty data directory, and start the server with that.
    """
    from headwater_server.workflows.journal.backup import back_up
    from headwater_server.workflows.journal.base import JournalError

    try:
        flags: dict[tuple[str, ...], Any] = {("server", "data_dir"): data_dir} if data_dir else {}
        size = back_up(Path(load(file, os.environ, flags).settings.server.data_dir), target)
    except ConfigError as error:
        _refuse(error)
    except JournalError as error:
        click.echo(f"headwater: {error}", err=True)
        sys.exit(1)
    click.echo(f"{target}: {size:,} bytes")


@click.command()
@click.option("--config", "file", type=click.Path(path_type=Path), help="TOML file [HEADWATER_CONFIG].")
@click.option("--data-dir", help="That of the server; its settings are then not read here.")
def reload(file: Path | None, data_dir: str | None) -> None:
    """Let the server with this data directory read its settings again, and say whether it did.

    A mistake in them changes nothing and is shown; the exit code is then 78. Running streams continue as they began.
    """
    from headwater_server.processes.ask_reload import ReloadError, ask_reload

    try:
        folder = os.path.expanduser(data_dir) if data_dir else load(file, os.environ).settings.server.data_dir
        outcome = ask_reload(Path(folder))
    except ConfigError as error:
        _refuse(error)
    except ReloadError as error:
        click.echo(f"headwater: {error}", err=True)
        sys.exit(1)
    if outcome.mistakes:
        _refuse(ConfigError(list(outcome.mistakes)))
    click.echo("reloaded")
    for setting in outcome.needs_restart:
        click.echo(f"{setting} has changed, which needs a restart")


@click.group()
@click.option("--config", "file", type=click.Path(path_type=Path), help="TOML file [HEADWATER_CONFIG].")
@click.option("--data-dir", help="Folder of the server's data [~/.local/share/headwater].")
@click.pass_context
def token(context: click.Context, file: Path | None, data_dir: str | None) -> None:
    """Make, list and revoke the tokens of callers.

    A server without any token answers everybody. With the first one it wants a token of every call, except health
    checks, and shows each caller its streams and runs alone. It follows changes without a restart.
    """
    flags: dict[tuple[str, ...], Any] = {("server", "data_dir"): data_dir} if data_dir else {}
    try:
        context.obj = Path(load(file, os.environ, flags).settings.server.data_dir)
    except ConfigError as error:
        _refuse(error)


@token.command("create")
@click.argument("name")
@click.option("--scope", "scopes", multiple=True, help="stream, workflow, operator or worker:QUEUE; may be repeated.")
@click.option("--days", default=0, type=click.IntRange(0, 36_500), help="How long it is valid [until it is revoked].")
@click.pass_obj
def token_create(folder: Path, name: str, scopes: tuple[str, ...], days: int) -> None:
    """Make a token for the caller NAME and print it, once: only its hash is stored.

    A caller may have several tokens. Streams and runs belong to its name, so each of its tokens
    reaches them.
    """
    from headwater_server.callers.token_file import add_token
    from headwater_server.callers.tokens import make_token

    with _token_errors():
        made, text = make_token(name, scopes, time.time(), days)
        add_token(folder, made)
    click.echo(f"{made.id} of {made.caller}; the token is shown this once:", err=True)
    click.echo(text)


@token.command("list")
@click.pass_obj
def token_list(folder: Path) -> None:
    """List the tokens: id, caller, scopes, when it was made, and whether it is in force."""
    from headwater_server.callers.token_file import read_tokens

    with _token_errors():
        tokens = read_tokens(folder) or []
    now = time.time()
    for each in tokens:
        state = "revoked" if each.revoked else "expired" if each.has_expired(now) else "in force"
        if state == "in force" and each.expires:
            state += f" until {_day(each.expires)}"
        click.echo(f"{each.id}  {each.caller}  {','.join(each.scopes)}  {_day(each.created)}  {state}")


@token.command("revoke")
@click.argument("name", metavar="ID_OR_NAME")
@click.pass_obj
def token_revoke(folder: Path, name: str) -> None:
    """Revoke the token with this ID, or all tokens of the caller with this NAME.

    The server refuses the next call with it. A call that runs ends within 5 seconds.
    """
    from headwater_server.callers.token_file import revoke_tokens

    with _token_errors():
        for each in revoke_tokens(folder, name, time.time()):
            click.echo(f"{each.id} of {each.caller} is revoked")


@contextmanager
def _token_errors() -> Iterator[None]:
    from headwater_server.callers.tokens import TokenError

    try:
        yield
    except TokenError as error:
        click.echo(f"headwater: {error}", err=True)
        sys.exit(1)


def _day(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).date().isoformat()


@click.command("dev-cert")
@click.argument("folder", default="certs", type=click.Path(path_type=Path))
@click.option("--name", "names", multiple=True, help="Further name or address of the server; may be repeated.")
@click.option("--caller", default="caller", show_default=True, help="Name in the caller's certificate.")
@click.option("--days", default=365, show_default=True, type=click.IntRange(1, 3_650), help="How long both are valid.")
@click.option("--force", is_flag=True, help="Replace the files that are there.")
def dev_cert(folder: Path, names: tuple[str, ...], caller: str, days: int, force: bool) -> None:
    """Make a local authority with certificates for a server and a caller in FOLDER [certs], to try TLS.

    The server's is for localhost and the names given with --name. The key of the authority is not kept.
    """
    try:
        from headwater_server.dev_cert import DevCertError, make_certificates
    except ModuleNotFoundError as error:
        sys.exit(f"headwater: dev-cert needs {error.name}: pip install {error.name}")

    try:
        make_certificates(folder, names, caller, days, replace=force)
    except DevCertError as error:
        click.echo(f"headwater: {error}", err=True)
        sys.exit(1)
    click.echo(f"""The server:
  headwater serve --tls-cert-file {folder}/server.pem --tls-key-file {folder}/server.key
To want a certificate of callers too, add:
  --tls-client-ca-file {folder}/ca.pem
A caller:
  export HEADWATER_TARGET=https://localhost:50051 HEADWATER_CA_FILE={folder}/ca.pem
  export HEADWATER_CERT_FILE={folder}/client.pem HEADWATER_KEY_FILE={folder}/client.key""")


def _journal_mib(directory: Path) -> float:
    """The size of the journal's files; 0.0 where there is none, or none that may be read."""
    try:
        return sum(file.lstat().st_size for file in directory.glob("headwater.db*")) / 2**20
    except OSError:
        return 0.0


def _who_answers(loaded: Config) -> str:
    """A line that names the provider for requests that name neither model nor provider. Raises ConfigError."""
    try:
        from headwater_server.config.providers import default_answer
    except ModuleNotFoundError as error:
        return f"the server is not installed here ({error.name} is missing), so no provider answers"
    import asyncio

    answer = asyncio.run(default_answer(loaded))
    return f"a request that names no model is answered by {answer}" if answer else "a request must name its model"


def _toml(value: object) -> str:
    """A setting as TOML; an object as an inline table."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    return "unset" if value is None else json.dumps(value)


def _shown(key: str, value: Any) -> Any:
    """The value of a setting without the secrets in it."""
    if key == "token_command":
        return shown_command(value)
    if isinstance(value, dict):
        return {name: shown_value(name, item) if isinstance(item, str) else item for name, item in value.items()}
    if isinstance(value, list):
        return [_shown("", item) for item in value]
    return without_secrets(value) if isinstance(value, str) else value


def render(loaded: Config) -> str:
    """The settings as TOML, each with its origin; of an API key only whether it is set."""
    lines: list[str] = []
    tables: dict[tuple[str, ...], BaseModel] = {("server",): loaded.settings.server}
    for name, provider in sorted(loaded.settings.providers.items()):
        tables["providers", name] = provider
    for name, alias in sorted(loaded.settings.models.items()):
        tables["models", name] = alias
    for name, issuer in sorted(loaded.settings.jwt.items()):
        tables["jwt", name] = issuer
    for name, price in sorted(loaded.settings.prices.items()):
        tables["prices", name] = price
    for name, caller in sorted(loaded.settings.callers.items()):
        tables["callers", name] = caller
    for path, table in tables.items():
        lines.append(f"[{'.'.join(key if _BARE_KEY.fullmatch(key) else json.dumps(key) for key in path)}]")
        preset = getattr(table, "preset", "")
        variable = getattr(table, "api_key_env", "")
        if variable and path[-1] not in loaded.keys:
            variable = named_variable(variable)
        fallback = f"default of the preset {preset}" if preset else "default"
        for key, value in table.model_dump(mode="json").items():
            prefix = (*path, key)
            origin = next((where for at, where in loaded.origins.items() if at[: len(prefix)] == prefix), fallback)
            unset = "# " if value is None else ""
            shown = variable if key == "api_key_env" else _shown(key, value)
            lines.append(f"{unset}{key} = {_toml(shown)}  # {without_secrets(origin)}")
        if variable:
            lines.append(f"# {variable} is {'set: ***' if path[-1] in loaded.keys else 'not set'}")
        lines.append("")
    return "\n".join(lines)
