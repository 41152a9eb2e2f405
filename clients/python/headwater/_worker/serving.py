"""Serves a queue from its start to its end: until the worker is stopped or gives up."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from headwater._worker.worker import Worker


async def before_stop(work: Coroutine[Any, Any, None], stop: asyncio.Event | None) -> bool:
    """Does the work unless `stop` is set before its end, and says whether it was done."""
    working = asyncio.create_task(work)
    stopping = asyncio.create_task((stop or asyncio.Event()).wait())
    try:
        await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            return False
        working.result()
        return True
    finally:
        working.cancel()
        stopping.cancel()
        await asyncio.wait([working, stopping])


async def serve(worker: Worker, stop: asyncio.Event | None, drain_seconds: float) -> None:
    """Run a worker until `stop` is set; then it finishes its tasks, and hands back those that take longer.

    To cancel this is to hand back all of them at once.

    Args:
        worker: not yet started; it is closed at the end.
        stop: ends it; None: only to cancel this ends it.
        drain_seconds: how long it may finish its tasks.

    Raises:
        HeadwaterError: the worker has given up, and why.
    """
    worker.start()
    failing = asyncio.create_task(worker.wait_failed())
    stopping = asyncio.create_task((stop or asyncio.Event()).wait())
    try:
        await asyncio.wait([failing, stopping], return_when=asyncio.FIRST_COMPLETED)
        if failing.done():
            raise failing.result()
        await worker.drain(drain_seconds)
    finally:
        failing.cancel()
        stopping.cancel()
        await asyncio.wait([failing, stopping])
        await worker.aclose()
