"""Says that calls are taken: on standard output, and to systemd."""

from __future__ import annotations

from headwater_server.processes.systemd import notify
from headwater_server.telemetry.log_writer import print_line


def say_ready(target: str) -> None:
    """Prints the address for callers, and tells systemd."""
    print_line(f"Headwater is listening on {target}")
    notify("READY=1", wait_seconds=1.0)  # signs of life may have filled the socket
