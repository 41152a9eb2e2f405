"""The times of a thread: on a processor, and in wait for one."""

from __future__ import annotations

import os
from typing import NamedTuple

SELF = "thread-self"


class Given(NamedTuple):
    """The times of a thread since it began, in seconds.

    Attributes:
        ran: how long it was on a processor.
        starved: how long it has waited for one; a wait counts once it is over.
    """

    ran: float
    starved: float


def given(thread: int | str = SELF) -> Given | None:
    """The times of a thread; None where the system does not say, or there is no such thread.

    Args:
        thread: the number that the system gives it, or `SELF` for the one that asks.
    """
    try:
        ran, starved, *_ = _read(f"/proc/{thread}/schedstat").split()
        return Given(int(ran) / 1e9, int(starved) / 1e9)
    except (OSError, ValueError):
        return None


def is_runnable(thread: int) -> bool:
    """Whether a thread runs or waits for a processor, and so does not sleep and is not stopped."""
    try:
        return _read(f"/proc/{thread}/stat").rpartition(b")")[2].split()[0] == b"R"
    except (OSError, IndexError):
        return False


def starved_seconds() -> float:
    """How long this thread has waited for a processor since it began; 0.0 where the system does not say."""
    found = given()
    return found.starved if found else 0.0


def _read(path: str) -> bytes:
    file = os.open(path, os.O_RDONLY)  # often asked: a Path would take ten times as long
    try:
        return os.read(file, 1000)
    finally:
        os.close(file)
