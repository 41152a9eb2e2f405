"""Long-lived event loops in separate threads: one for synchronous calls, one for the work behind the scenes.

Each is started by the first call that needs it and ended when the interpreter exits. So synchronous calls work
everywhere: in scripts, in threads, inside a running loop (which they block), in notebooks. Only a portal's own loop, on
which async tools and handlers of synchronous calls run, cannot wait for itself: there they are refused. Tools of such a
call may block that loop. So the connections of workers, their heartbeats and the start and end of runs have a loop that
no code of a caller shares.

asyncio lets SystemExit and KeyboardInterrupt of a task end its loop. Here other callers have tasks too, so the loop
continues: the exception is the result of its task.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from headwater._grpc.channels import check_process
from headwater._values.calling_thread import CallingThread, calling_thread

T = TypeVar("T")

_STOP_SECONDS = 5.0


class Portal:
    """An event loop in a daemon thread."""

    def __init__(self, name: str) -> None:
        self._ready = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()
        self._ready.wait()

    def _serve(self) -> None:
        with asyncio.Runner() as runner:
            self._loop = runner.get_loop()
            self._loop.call_soon(self._ready.set)
            while not self._stopping:
                with contextlib.suppress(SystemExit, KeyboardInterrupt):
                    self._loop.run_forever()

    def _end(self) -> None:
        self._stopping = True
        self._loop.stop()

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run a coroutine there, without waiting for it. To cancel the future is to cancel the coroutine."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there and wait for its result. If the wait is interrupted (Ctrl-C), so is the coroutine.

        Raises:
            RuntimeError: on the portal's own loop, where the call would wait for itself.
        """
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise RuntimeError(
                "a synchronous call from an async function that a synchronous call runs would wait for itself; write "
                "the asynchronous form there, such as `await agent.arun(...)` or `async for ... in agent.stream(...)`, "
                "or make the function synchronous (def instead of async def)"
            )
        caller = CallingThread(self._loop)
        before = calling_thread.set(caller)
        try:
            future = self.submit(coroutine)
        finally:
            calling_thread.reset(before)
        future.add_done_callback(caller.release)
        try:
            caller.serve()
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def stop(self) -> None:
        """End the loop: its tasks are cancelled, its channels closed."""
        self._loop.call_soon_threadsafe(self._end)
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
    check_process()
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
