"""Tells systemd, for a unit with `Type=notify`, that the server takes calls, and that it still lives.

Theory of operation. systemd sets NOTIFY_SOCKET, and for a unit with `WatchdogSec=` also WATCHDOG_USEC and WATCHDOG_PID
(sd_notify(3), sd_watchdog_enabled(3)). The sign of life comes from the event loop of the process with that id: of the
server itself, or of the parent of several, which watches their loops by its own heartbeats. A loop that hangs gives no
sign, so systemd kills the service and starts it again.

Example. `WatchdogSec=30` gives WATCHDOG_USEC=30000000: a sign goes out every 15 s.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog

from headwater_server.telemetry.background import in_background

T = TypeVar("T")

log = structlog.get_logger("headwater.server")


def notify(state: str, wait_seconds: float = 0.0) -> None:
    """Sends a state to systemd; one that cannot be sent within `wait_seconds` is a warning in the log."""
    if not (address := os.environ.get("NOTIFY_SOCKET")):
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifier:
            notifier.settimeout(wait_seconds)
            notifier.connect(address.replace("@", "\0", 1) if address.startswith("@") else address)
            notifier.send(state.encode())
    except OSError as error:
        log.warning("systemd not notified", state=state, why=str(error))


async def with_signs_of_life(serving: Coroutine[Any, Any, T]) -> T:
    """Serves, and gives the watchdog of systemd a sign in half of its time, where it waits for this process."""
    seconds = _watchdog_seconds()
    if seconds is None:
        return await serving
    signs = in_background(_give_signs(seconds / 2), "headwater watchdog")
    try:
        return await serving
    finally:
        signs.cancel()
        await asyncio.wait([signs])


async def _give_signs(every_seconds: float) -> None:
    while True:
        notify("WATCHDOG=1")
        await asyncio.sleep(every_seconds)


def _watchdog_seconds() -> float | None:
    """The time of the watchdog; None without one, and where it waits for another process."""
    process, time = os.environ.get("WATCHDOG_PID", ""), os.environ.get("WATCHDOG_USEC", "")
    if process not in ("", str(os.getpid())) or not time.isdecimal() or not int(time):
        return None
    return int(time) / 1_000_000
