"""The command `headwater`.

Theory of operation. Python's KeyboardInterrupt in an import prints a traceback, and some extension modules lose it. So
until a command waits for something, Ctrl-C ends the process at once (`leave`); nothing is open yet. Before the handler
is in place, in the first thousandths of a second, an `except` catches it: this module imports nothing that takes time.
"""

from __future__ import annotations

import os
import sys

INTERRUPTED = 130


def main() -> None:
    """Runs the command line; a package that it needs beyond the client is named in one line when it is missing."""
    try:
        import atexit
        import gc
        import signal

        signal.signal(signal.SIGINT, leave)
        # The first to be registered runs last. Then Python takes handlers away, and Ctrl-C would change the exit code.
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
    except KeyboardInterrupt:
        leave()
    # Else gRPC, which reads this when it is imported, runs in programs that this one starts by a fork, as uvloop does,
    # and now and then ends them before they have begun.
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
    gc.disable()  # the objects of imports stay: to look for garbage among them would take a tenth of the time
    try:
        from headwater.cli.main import run
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        sys.exit("headwater: the command line needs click: pip install click")
    gc.enable()
    try:
        run()
    finally:
        signal.signal(signal.SIGINT, leave)


def leave(*_: object) -> None:
    """Ends the process at once: for Ctrl-C before a command has begun and after it has ended, when nothing is open."""
    os._exit(INTERRUPTED)
