"""`headwater serve` that is killed at one of its commits: `python -m tests.support.servers.crashing_server before:3 --port 0`.

`before` is just before the third commit, `after` just after it: durable, but not reported yet.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from typing import Any

from headwater.cli import main
from headwater_server.workflows.journal.sqlite import SqliteJournal


def crash_at(when: str, number: int) -> None:
    """Arms the crash. Writes of a server before a worker or a run comes to it do not count."""
    write, remember_handlers = SqliteJournal._write, SqliteJournal.remember_handlers
    numbers = itertools.count(1)
    armed = False

    async def remember_and_arm(self: SqliteJournal, *args: Any) -> None:
        nonlocal armed
        armed = True
        await remember_handlers(self, *args)

    def write_or_die(self: SqliteJournal, *args: Any) -> Any:
        now = armed and next(numbers) == number
        if now and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = write(self, *args)
        if now:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    SqliteJournal.remember_handlers = remember_and_arm  # type: ignore[method-assign]
    SqliteJournal._write = write_or_die  # type: ignore[method-assign]


if __name__ == "__main__":
    when, _, number = sys.argv.pop(1).partition(":")
    crash_at(when, int(number))
    main()
