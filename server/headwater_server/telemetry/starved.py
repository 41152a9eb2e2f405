"""How long a thread has waited for a processor: a busy machine, and no fault of this program."""

from __future__ import annotations

import os

SELF = "thread-self"


def starved_seconds(thread: int | str = SELF) -> float:
    """How long a thread has waited for a processor since it began; 0.0 where the system does not say.

    Args:
        thread: the number that the system gives it, or `SELF` for the one that asks.
    """
    try:
        file = os.open(f"/proc/{thread}/schedstat", os.O_RDONLY)  # often asked: a Path would take ten times as long
        try:
            return int(os.read(file, 100).split()[1]) / 1e9
        finally:
            os.close(file)
    except (OSError, IndexError, ValueError):
        return 0.0
