"""Tasks that wait for a worker: a line for each queue and handler."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection

from headwater_server.workflows.workers.tasks import Attempt


class WaitingTasks:
    """The lines. The oldest task is the one with the lowest number."""

    def __init__(self) -> None:
        self._lines: dict[str, dict[str, OrderedDict[int, Attempt]]] = {}  # by queue, then handler

    def add(self, attempt: Attempt) -> None:
        """Puts a task at the end of its line."""
        lines = self._lines.setdefault(attempt.queue, {})
        lines.setdefault(attempt.handler, OrderedDict())[attempt.number] = attempt

    def discard(self, attempt: Attempt) -> None:
        """Takes a task out of its line, if it is there."""
        lines = self._lines.get(attempt.queue, {})
        line = lines.get(attempt.handler)
        if line is not None and line.pop(attempt.number, None) is not None and not line:
            del lines[attempt.handler]
            if not lines:
                del self._lines[attempt.queue]

    def pop_oldest(self, queue: str, handlers: Collection[str]) -> Attempt | None:
        """Takes out the oldest task of a queue that needs one of these handlers; None when there is none."""
        first = [next(iter(line.values())) for name, line in self._lines.get(queue, {}).items() if name in handlers]
        if not first:
            return None
        oldest = min(first, key=lambda attempt: attempt.number)
        self.discard(oldest)
        return oldest
