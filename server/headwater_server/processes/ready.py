"""Says that calls are taken: on standard output, and to systemd where a unit has `Type=notify`."""

from __future__ import annotations

import os
import socket

import structlog

from headwater_server.telemetry.log_writer import print_line

log = structlog.get_logger()


def say_ready(target: str) -> None:
    """Prints the address for callers, and tells systemd, as sd_notify(3) describes it."""
    print_line(f"Headwater is listening on {target}")
    if address := os.environ.get("NOTIFY_SOCKET"):
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifier:
                notifier.sendto(b"READY=1", address.replace("@", "\0", 1) if address.startswith("@") else address)
        except OSError as error:
            log.warning("systemd not notified", why=str(error))
