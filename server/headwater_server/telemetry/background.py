"""Tasks in the background that no caller waits for: the end of one that fails is reported at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import structlog

from headwater_server.telemetry.logging import fault_facts

T = TypeVar("T")

log = structlog.get_logger("headwater")


def in_background(
    work: Coroutine[Any, Any, T], name: str, on_death: Callable[[BaseException], object] | None = None
) -> asyncio.Task[T]:
    """Runs some work in a task. Its owner cancels it.

    Args:
        work: the work; an exception ends it, and is a fault in the log.
        name: of the task, for the log.
        on_death: gets the exception, so that whatever depends on the work fails with this reason.
    """

    def ended(task: asyncio.Task[T]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("fault", task=name, **fault_facts(error))
            if on_death is not None:
                on_death(error)

    task = asyncio.create_task(work, name=name)
    task.add_done_callback(ended)
    return task
