"""Long-lived event loops in separate threads: one for synchronous calls, one for the work behind the scenes.

Each is started by the first call that needs it and ended when the interpreter exits. So synchronous calls work
everywhere: in scripts, in threads, inside a running loop (which they block), in notebooks. Tools of such a call run on
its loop and may block it. So the connections of workers, their heartbeats and the start and end of runs have a loop
that no code of a caller shares.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from headwater._grpc.channels import check_fork

T = TypeVar("T")

_STOP_SECONDS = 5.0


class Portal:
    """An event loop in a daemon thread."""

    def __init__(self, name: str) -> None:
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name=name, daemon=True)
        self._thread.start()
        self._ready.wait()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._ready.set()
        await self._stop.wait()

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run a coroutine there, without waiting for it. To cancel the future is to cancel the coroutine."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there and wait for its result. If the wait is interrupted (Ctrl-C), so is the coroutine."""
        future = self.submit(coroutine)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def stop(self) -> None:
        """End the loop: its tasks are cancelled, its channels closed."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_STOP_SECONDS)


_portals: dict[str, Portal] = {}
_lock = threading.Lock()


def portal() -> Portal:
    """The portal for synchronous calls, started if need be. Code of the caller may run on it.

    Raises:
        ForkError: in a process that was forked while its parent had a channel open.
    """
    return _started("headwater-portal")


def background() -> Portal:
    """The portal of workers and runs, started if need be. No code of the caller runs on it. Raises as `portal`."""
    return _started("headwater-background")


def _started(name: str) -> Portal:
    check_fork()
    with _lock:
        if not _portals:
            atexit.unregister(_shut_down)
            atexit.register(_shut_down)
        if name not in _portals:
            _portals[name] = Portal(name)
        return _portals[name]


def _shut_down() -> None:
    with _lock:
        stopped = list(_portals.values())
        _portals.clear()
    for each in stopped:
        each.stop()


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.Lock()
    _portals.clear()  # their threads did not come along


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
