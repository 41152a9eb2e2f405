"""`headwater worker`: serves a queue with the handlers of an agent."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

import click

from headwater.cli import leave
from headwater.cli.options import TEXT, server_options
from headwater.cli.output import WRONG_USAGE, fail, one_line
from headwater.cli.terminal import outlive


@click.command()
@click.argument("agent", type=TEXT, metavar="MODULE:AGENT")
@click.option("--queue", type=TEXT, required=True, help="The queue to serve.")
@click.option(
    "--concurrency", type=click.IntRange(1, 10_000), default=10, show_default=True, help="Most steps at once."
)
@click.option(
    "--drain-seconds",
    type=click.FloatRange(0, min_open=True),
    default=30.0,
    show_default=True,
    help="How long it may finish its steps when it is stopped.",
)
@server_options
def worker(
    agent: str, queue: str, concurrency: int, drain_seconds: float, target: str | None, token: str | None
) -> None:
    """Serve a queue with the handlers of a WorkflowAgent until stopped.

    MODULE is imported from the current folder or from where Python finds it; AGENT is its name there. The server is
    that of the agent, unless --target names another. Registrations and steps are logged on standard error. Ctrl-C or
    SIGTERM stops the worker: it finishes its steps, and those that take longer go to others. The second one ends it at
    once. The end of its terminal does not end it.
    """
    outlive()
    found = _load(agent)
    if target is not None:
        found.connection, found.target = None, target
    if token is not None:
        found.token = token
    log = logging.getLogger("headwater.worker")
    log.setLevel(logging.INFO)
    log.propagate = False
    asyncio.run(_serve(found, queue, concurrency, drain_seconds, log))


class _Log(logging.Handler):
    """Writes the reports of a worker, a line each.

    Args:
        on_registered: called when the worker is registered, in any thread.
    """

    def __init__(self, on_registered: Callable[[], object]) -> None:
        super().__init__()
        self._on_registered = on_registered

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "is_registration", False):
            self._on_registered()
        error = record.exc_info[1] if record.exc_info else None
        why = f": {type(error).__name__}: {error}" if error else ""
        click.echo(f"headwater: {one_line(record.getMessage() + why)}", err=True)


async def _serve(agent: Any, queue: str, concurrency: int, drain_seconds: float, log: logging.Logger) -> None:
    """Serves until a signal. Until the worker is registered it has no steps, and Ctrl-C ends the process at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stopped() -> None:
        stop.set()
        if sys.stderr.isatty():
            click.echo("headwater: finishes its steps; Ctrl-C ends it at once", err=True)
        loop.remove_signal_handler(signal.SIGTERM)
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, leave)

    def stop_at(number: signal.Signals) -> None:
        with contextlib.suppress(NotImplementedError):  # Windows
            loop.add_signal_handler(number, stopped)

    stop_at(signal.SIGTERM)
    log.addHandler(_Log(lambda: loop.call_soon_threadsafe(stop_at, signal.SIGINT)))
    await agent.run_worker(queue=queue, concurrency=concurrency, stop=stop, drain_seconds=drain_seconds)


def _load(path: str) -> Any:
    """The agent; a mistake in its path ends the process."""
    module_name, colon, name = path.partition(":")
    if not colon or not all(map(str.isidentifier, (*module_name.split("."), *name.split(".")))):
        fail(f"{path!r} must be MODULE:AGENT, such as my_service.workers:agent", WRONG_USAGE)
    module = _import(module_name)
    agent: Any = module
    for part in name.split("."):
        if not hasattr(agent, part):
            fail(f"module {module_name} has no {name}{_candidates(module)}", WRONG_USAGE)
        agent = getattr(agent, part)
    if isinstance(agent, type) or not callable(getattr(agent, "run_worker", None)):
        what = f"the class {agent.__name__}" if isinstance(agent, type) else f"of type {type(agent).__name__}"
        fail(f"{path} is {what}, but must be a WorkflowAgent{_candidates(module)}", WRONG_USAGE)
    return agent


def _import(name: str) -> Any:
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            fail(
                f"there is no module {error.name}; call this in the folder that has it, or set PYTHONPATH", WRONG_USAGE
            )
        fail(f"module {name} needs {error.name}, which is not installed", 1)
    except Exception as error:  # noqa: BLE001  it is the caller's own code
        traceback.print_exc()
        fail(f"module {name} cannot be imported: {type(error).__name__}: {error}", 1)


def _candidates(module: Any) -> str:
    """The names of a module that would do."""
    names = [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and not isinstance(value, type) and callable(getattr(value, "run_worker", None))
    ]
    return f"; it has {', '.join(sorted(names)[:5])}" if names else ""
