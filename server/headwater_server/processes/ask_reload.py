"""Asks the server of a data directory to reload, and waits for the outcome."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from headwater_server.processes.reloading import Outcome, outcome_since
from headwater_server.workflows.journal.base import JournalFolderError
from headwater_server.workflows.journal.data_directory import owner_of

WAIT_SECONDS = 60.0
POLL_SECONDS = 0.02


class ReloadError(Exception):
    """No server could be asked, or it has not answered; the message says why and names the cure."""


def ask_reload(data_dir: Path) -> Outcome:
    """The outcome of a reload of the server that has this data directory. Raises ReloadError."""
    began = time.time_ns()
    try:
        pid = owner_of(data_dir)
        if pid is None:
            raise ReloadError(f"no server uses the data directory {data_dir}; name that of the server with --data-dir")
        os.kill(pid, signal.SIGHUP)
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            if outcome := outcome_since(data_dir, began):
                return outcome
            os.kill(pid, 0)
            time.sleep(POLL_SECONDS)
    except ProcessLookupError as error:
        raise ReloadError("the server has ended") from error
    except JournalFolderError as error:
        raise ReloadError(str(error)) from error
    except OSError as error:
        raise ReloadError(f"the server cannot be asked: {error.strerror}; run this as the server's user") from error
    raise ReloadError(f"the server has not answered within {WAIT_SECONDS:g} seconds; its log says why")
