"""The heartbeats of the processes of a server, by which a process that hangs is noticed.

Theory of operation. The event loop of each process writes the time every quarter of a second into its place in a file
that all of them, and the supervisor, have mapped into memory. Reading and writing it calls nothing that could wait. A
process that has not begun, or that is about to end, has no heartbeat, which means nothing.

- A sibling ends calls for a process that was silent for a second (`relay`).
- The supervisor replaces a process that was silent for five.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from pathlib import Path
from typing import Self

BEAT_SECONDS = 0.25
_TIME = struct.Struct("d")
_NONE = 0.0


class Heartbeats:
    """The last heartbeats of all processes; to be closed.

    Args:
        path: the file, which is made if it is missing.
        count: how many processes there are.
    """

    def __init__(self, path: Path, count: int) -> None:
        size = count * _TIME.size
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(file, size)
            self._times = mmap.mmap(file, size)
        finally:
            os.close(file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def beat(self, index: int) -> None:
        """The process is alive now."""
        self._write(index, time.monotonic())

    def rest(self, index: int) -> None:
        """The process has no heartbeat from now on."""
        self._write(index, _NONE)

    def last(self, index: int) -> float:
        """When the process was alive last, on the monotonic clock; 0 while it has no heartbeat."""
        (last,) = _TIME.unpack_from(self._times, index * _TIME.size)
        return float(last)

    def silence(self, index: int) -> float:
        """For how many seconds the process was silent; 0 while it has no heartbeat."""
        last = self.last(index)
        return time.monotonic() - last if last else 0.0

    def close(self) -> None:
        """Ends the use of the file."""
        self._times.close()

    def _write(self, index: int, moment: float) -> None:
        _TIME.pack_into(self._times, index * _TIME.size, moment)
