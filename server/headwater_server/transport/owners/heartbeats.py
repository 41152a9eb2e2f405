"""The heartbeats of the processes of a server, by which a process that hangs is noticed.

Theory of operation. The event loop of each process writes the time every quarter of a second into its place in a file
that all of them, and the supervisor, have mapped into memory. Reading and writing it calls nothing that could wait. A
process that has not begun, or that is about to end, has no heartbeat, which means nothing.

A busy machine may give a process no processor for a second and more: then it is late and does not hang. So beside the
time stands what the thread of the loop was given until then. Since then, the time in which it waited for a processor is
no silence. The system counts a wait when it is over, so of a thread that waits now only the time on a processor counts.
Where the system does not say, all of the time is silence.

- A sibling ends calls for a process that was silent for a second (`relay`).
- The supervisor replaces a process that was silent for five.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from headwater_server.telemetry.starved import Given, given, is_runnable

BEAT_SECONDS = 0.25
_BEAT = struct.Struct("dddq")
_NONE = (0.0, 0.0, 0.0, 0)
_UNKNOWN = Given(0.0, 0.0)


class Heartbeats:
    """The last heartbeats of all processes; to be closed.

    Args:
        path: the file, which is made if it is missing.
        count: how many processes there are.
        given: see `starved.given`.
        is_runnable: see `starved.is_runnable`.
    """

    def __init__(
        self,
        path: Path,
        count: int,
        given: Callable[[int], Given | None] = given,
        is_runnable: Callable[[int], bool] = is_runnable,
    ) -> None:
        self._given, self._is_runnable = given, is_runnable
        size = count * _BEAT.size
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(file, size)
            self._beats = mmap.mmap(file, size)
        finally:
            os.close(file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def beat(self, index: int) -> None:
        """The process is alive now; called by the thread of its event loop."""
        thread = threading.get_native_id()
        until_now = self._given(thread) or _UNKNOWN
        _BEAT.pack_into(self._beats, index * _BEAT.size, time.monotonic(), *until_now, thread)

    def rest(self, index: int) -> None:
        """The process has no heartbeat from now on."""
        _BEAT.pack_into(self._beats, index * _BEAT.size, *_NONE)

    def last(self, index: int) -> float:
        """When the process was alive last, on the monotonic clock; 0 while it has no heartbeat."""
        return self._read(index)[0]

    def silence(self, index: int) -> float:
        """For how many seconds the process was silent although it had a processor; 0 while it has no heartbeat."""
        last, before, thread = self._read(index)
        silent = time.monotonic() - last if last else 0.0
        if silent <= 2 * BEAT_SECONDS:
            return silent  # asked for each call that is passed on, and hardly ever more
        now = self._given(thread)
        if now is None:
            return silent
        had = now.ran - before.ran if self._is_runnable(thread) else silent - (now.starved - before.starved)
        return max(0.0, had)

    def close(self) -> None:
        """Ends the use of the file."""
        self._beats.close()

    def _read(self, index: int) -> tuple[float, Given, int]:
        last, ran, starved, thread = _BEAT.unpack_from(self._beats, index * _BEAT.size)
        return last, Given(ran, starved), thread
