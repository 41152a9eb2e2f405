"""The command `headwater`."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Runs the command line; a package that it needs beyond the client is named in one line when it is missing."""
    # Else gRPC, which reads this when it is imported, runs in programs that this one starts by a fork, as uvloop does,
    # and now and then ends them before they have begun.
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
    try:
        from headwater.cli.main import headwater
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        sys.exit("headwater: the command line needs click: pip install click")
    headwater(prog_name="headwater")
