"""The command `headwater`."""

from __future__ import annotations

import io
import os
import signal
import sys

INTERRUPTED = 130


def main() -> None:
    """Runs the command line; a package that it needs beyond the client is named in one line when it is missing."""
    # Else gRPC, which reads this when it is imported, runs in programs that this one starts by a fork, as uvloop does,
    # and now and then ends them before they have begun.
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
    signal.signal(signal.SIGINT, leave)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # text that the terminal's encoding lacks must not end a reply
    try:
        from headwater.cli.main import headwater
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        sys.exit("headwater: the command line needs click: pip install click")
    try:
        headwater(prog_name="headwater")
    finally:
        signal.signal(signal.SIGINT, leave)


def leave(*_: object) -> None:
    """Ends the process at once: for Ctrl-C before a command has begun and after it has ended, when nothing is open.

    A KeyboardInterrupt would meet the imports, or Python on its way out, and print a traceback.
    """
    os._exit(INTERRUPTED)
