"""One of several server processes: `python -m headwater_server.processes.server_process DESCRIPTOR`.

The supervisor starts it, and sends its index and settings over the control socket; `supervisor` describes the messages.
The end of that socket is the end of the supervisor: then this process drains and ends, as on SIGTERM.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

import uvloop

from headwater_server.processes import prepare_imports  # noqa: F401  before the others

# isort: split
from headwater_server.bootstrap import exit_code_of, serve
from headwater_server.config import Config, ConfigError
from headwater_server.domain.errors import HeadwaterError
from headwater_server.domain.process_identity import ProcessIdentity
from headwater_server.telemetry.logging import configure_logging
from headwater_server.telemetry.native_lines import native_lines_as_events
from headwater_server.transport.port import PortTakenError
from headwater_server.workflows.journal.base import JournalError


def main() -> None:
    """Serves until SIGTERM or the end of the supervisor."""
    with socket.socket(fileno=int(sys.argv[1])) as control:
        control.set_inheritable(False)  # a child of ours must not keep it open
        with control.makefile("rb") as lines:
            line = lines.readline()
        if not line:
            return  # the supervisor has gone before it could say anything
        hello = json.loads(line)
        identity = ProcessIdentity(hello["index"], hello["count"], Path(hello["sockets"]), hello["listener"])
        try:
            config = Config.from_json(hello["config"])
            server = config.settings.server
            configure_logging(server.log_level, server.log_format, identity.index)
            with native_lines_as_events(server.log_format):
                uvloop.run(_serve(control, config, identity))
        except (PortTakenError, JournalError, HeadwaterError, ConfigError) as error:
            _answer(control, str(error))
            sys.exit(exit_code_of(error))


async def _serve(control: socket.socket, config: Config, identity: ProcessIdentity) -> None:
    loop = asyncio.get_running_loop()
    orphaned = False

    def supervisor_ended() -> None:
        nonlocal orphaned
        orphaned = True
        loop.remove_reader(control)
        os.kill(os.getpid(), signal.SIGTERM)

    loop.add_reader(control, supervisor_ended)
    try:
        await serve(config, lambda _: _answer(control, ""), identity)
    finally:
        loop.remove_reader(control)
        if orphaned:
            _remove_socket(identity.socket(identity.index))


def _remove_socket(path: Path) -> None:
    """Removes the directory when the supervisor no longer can: the process that ends last succeeds."""
    with suppress(OSError):
        path.unlink(missing_ok=True)
        path.parent.rmdir()


def _answer(control: socket.socket, failure: str) -> None:
    with suppress(ConnectionError):  # the supervisor has ended, which its socket tells us too
        control.sendall(json.dumps({"failure": failure}).encode() + b"\n")


if __name__ == "__main__":
    main()
