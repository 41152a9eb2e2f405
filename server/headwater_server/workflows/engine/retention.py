"""Old runs are removed from the journal, hour by hour."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from headwater_server.telemetry.logging import fault_facts
from headwater_server.workflows.journal.base import Journal

PRUNE_EVERY_SECONDS = 3600.0

log = structlog.get_logger("headwater.workflows")


async def remove_old_runs(journal: Journal, retention_seconds: float, clock: Callable[[], float]) -> None:
    """Removes runs that ended longer ago than the retention, now and every hour, until it is cancelled."""
    while True:
        try:
            removed = await journal.prune(clock() - retention_seconds)
        except Exception as error:  # noqa: BLE001  whatever it is, old runs must go
            log.error("fault", **fault_facts(error))  # tried again in an hour
        else:
            if removed:
                log.info("old runs removed", runs=removed)
        await asyncio.sleep(PRUNE_EVERY_SECONDS)
