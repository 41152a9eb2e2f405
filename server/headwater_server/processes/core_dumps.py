"""The memory of a server has keys, prompts and replies, so a crash writes no image of it."""

from __future__ import annotations

import resource

SMALLEST = 1
"""Bytes of a core file. Linux writes none that is smaller than a page. With 0 it would still start a program that takes
core files (`core_pattern` with a pipe), with 1 it does not.
"""


def write_no_core_files() -> None:
    """Keeps this process, and those that it starts, from writing core files.

    Only the soft limit changes: to debug a running server, raise it (`prlimit --core=unlimited --pid PID`).
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0 if hard == 0 else SMALLEST, hard))
