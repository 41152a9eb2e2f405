"""Commits that wait for a journal which cannot be written for a while: a lock, a full disk, an error of the disk."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from headwater_server.workflows.journal.base import Change, Journal, JournalDamagedError, JournalError

FIRST_DELAY_SECONDS = 0.1
MAX_DELAY_SECONDS = 5.0


async def commit_patiently(journal: Journal, run_id: str, change: Change, closing: asyncio.Event) -> None:
    """Commits a change, again and again with growing delays while the journal cannot be written.

    Raises JournalError when trying again cannot help, or `closing` is set and a last try has failed.
    """
    delay = FIRST_DELAY_SECONDS
    while True:
        try:
            return await journal.commit(run_id, change)
        except JournalDamagedError:
            raise
        except JournalError:
            if closing.is_set():
                raise
        with suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await closing.wait()
        delay = min(delay * 2, MAX_DELAY_SECONDS)
