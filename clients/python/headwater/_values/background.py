"""Tasks in the background that no caller waits for: the end of one that fails is reported at once."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
from collections.abc import Callable
from typing import Any

log = logging.getLogger("headwater")


def report_death(
    work: asyncio.Task[Any] | concurrent.futures.Future[Any],
    name: str,
    on_death: Callable[[BaseException], object] | None = None,
) -> None:
    """Log the exception that ends some work, at once, with its traceback.

    Args:
        work: a task of this loop, or the future of one on the background loop.
        name: the work in words, for the log.
        on_death: gets the exception, so that whatever depends on the work fails with this reason.
    """

    def ended(ended: asyncio.Task[Any] | concurrent.futures.Future[Any]) -> None:
        error = None if ended.cancelled() else ended.exception()
        if error is not None:
            log.error("%s ended: %s", name, type(error).__name__, exc_info=error)
            if on_death is not None:
                on_death(error)

    work.add_done_callback(ended)


def soon_on_loop(loop: asyncio.AbstractEventLoop, begin: Callable[[], object]) -> None:
    """Call it on the loop: now, or, from elsewhere, when the loop runs. Raises RuntimeError when it is closed."""
    if _runs_here(loop):
        begin()
    else:
        loop.call_soon_threadsafe(begin)


def on_loop(loop: asyncio.AbstractEventLoop, end: Callable[[], object]) -> None:
    """As `soon_on_loop`, but now if the loop does not run, for work that needs no running loop."""
    if loop.is_running():
        soon_on_loop(loop, end)
    else:
        end()


def _runs_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False
