"""The program that `headwater.testing` starts; `control` says how the two speak."""

from __future__ import annotations

import json
import signal


def main() -> None:
    """Serves until its input ends. Ctrl-C is for the test run, which then ends the input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        import uvloop

        from headwater_server.processes import prepare_imports  # noqa: F401  before the others

        # isort: split
        from headwater_server.telemetry.logging import configure_logging
        from headwater_server.testing.control import obey
    except ModuleNotFoundError as error:
        print(json.dumps({"missing": error.name}))
        return
    configure_logging("warning", "text")
    print(json.dumps({"missing": None}), flush=True)
    uvloop.run(obey())


if __name__ == "__main__":
    main()
