"""The command `headwater`."""

from __future__ import annotations

import sys


def main() -> None:
    """Runs the command line; what it needs beyond the client is named in one line when it is missing."""
    try:
        from headwater.cli.main import headwater
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        sys.exit("headwater: the command line needs click: pip install 'headwater[cli]'")
    headwater(prog_name="headwater")
