"""A reload on SIGHUP: one after the other, with a line in the log and a note for `headwater reload`.

The note is a file in the data directory, since the command that sends the signal is another process. It says when its
reload began, so a command can tell the answer to its own signal from an earlier one: a reload that began after the
signal has read all that was written before it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import structlog

from headwater_server.private_files import open_private
from headwater_server.telemetry.audit import audit

NOTE = "reload.json"
MAX_NOTE = 1024 * 1024
CHECK_SECONDS = 30.0

log = structlog.get_logger("headwater.server")


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a reload.

    Attributes:
        mistakes: why nothing was changed; empty after a reload.
        needs_restart: the settings that were changed and that only a restart puts in force.
    """

    mistakes: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()


async def reload_on_signal(reload: Callable[[], Awaitable[Outcome]], data_dir: Path) -> None:
    """Calls `reload` after each SIGHUP until it is cancelled; signals that come meanwhile are one more call.

    Afterwards the signal is ignored. The outcome stands in the log, and in the note in `data_dir`.
    """
    asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, asked.set)
    try:
        while True:
            await asked.wait()
            asked.clear()
            began = time.time_ns()
            outcome = await reload()
            if outcome.mistakes:
                log.error("not reloaded", why=outcome.mistakes)
            else:
                log.info("reloaded", needs_restart=outcome.needs_restart)
                audit("reloaded")
            try:
                await asyncio.to_thread(_note, data_dir, began, outcome)
            except OSError as error:
                log.warning("reload not noted", why=error.strerror)
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


def read_again(config: dict[str, Any]) -> dict[str, Any]:
    """The answer of `reload_check`, which reads the settings for a program that imports too little for that."""
    command = [sys.executable, "-P", "-m", "headwater_server.processes.reload_check"]
    try:
        done = subprocess.run(  # noqa: S603  our own program
            command, input=json.dumps(config), stdout=subprocess.PIPE, text=True, timeout=CHECK_SECONDS, check=False
        )
        answer: dict[str, Any] = json.loads(done.stdout)
    except (OSError, subprocess.TimeoutExpired, ValueError):
        answer = {"mistakes": ["the program that reads the settings did not answer; try again"]}
    return answer


def _note(data_dir: Path, began: int, outcome: Outcome) -> None:
    """Puts the note into the folder in one step. Raises OSError."""
    new = data_dir / f"{NOTE}.new"
    with open(open_private(new), "wb") as file:
        file.truncate()
        file.write(json.dumps({"began": began, **asdict(outcome)}).encode())
    os.replace(new, data_dir / NOTE)


def outcome_since(data_dir: Path, began: int) -> Outcome | None:
    """The result of the last reload, if that began then or later, in nanoseconds of `time.time_ns`. Raises OSError."""
    try:
        file = os.open(data_dir / NOTE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    with open(file, "rb") as stream:
        said = json.loads(stream.read(MAX_NOTE))
    return Outcome(tuple(said["mistakes"]), tuple(said["needs_restart"])) if said["began"] >= began else None
