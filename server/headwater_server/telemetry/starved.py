"""The times of a thread: on a processor, and in wait for one."""

from __future__ import annotations

import os
from typing import NamedTuple, Self


class Given(NamedTuple):
    """The times of a thread since it began, in seconds.

    Attributes:
        ran: how long it was on a processor.
        starved: how long it has waited for one; a wait counts once it is over.
    """

    ran: float
    starved: float


def given(thread: int) -> Given | None:
    """The times of a thread; None where the system does not say, or there is no such thread.

    Args:
        thread: the number that the system gives it.
    """
    try:
        ran, starved, *_ = _read(f"/proc/{thread}/schedstat").split()
        return Given(int(ran) / 1e9, int(starved) / 1e9)
    except (OSError, ValueError):
        return None


class StarvedClock:
    """Says how long the thread that makes it has waited for a processor; to be closed. Its file stays open."""

    def __init__(self) -> None:
        try:
            self._file: int | None = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
        except OSError:
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            os.close(self._file)

    def seconds(self) -> float:
        """The time since the thread began; 0.0 where the system does not say."""
        if self._file is None:
            return 0.0
        try:
            return int(os.pread(self._file, 100, 0).split()[1]) / 1e9
        except (OSError, ValueError, IndexError):
            return 0.0


def is_runnable(thread: int) -> bool:
    """Whether a thread runs or waits for a processor, and so does not sleep and is not stopped."""
    try:
        return _read(f"/proc/{thread}/stat").rpartition(b")")[2].split()[0] == b"R"
    except (OSError, IndexError):
        return False


def _read(path: str) -> bytes:
    file = os.open(path, os.O_RDONLY)  # often asked: a Path would take ten times as long
    try:
        return os.read(file, 1000)
    finally:
        os.close(file)
