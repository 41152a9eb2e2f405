"""Tasks that wait for a worker: a line for each queue and handler, in which runs take turns."""

from __future__ import annotations

import itertools
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection

from headwater_server.workflows.workers.tasks import Attempt

MayTake = Callable[[Attempt], bool]


class WaitingTasks:
    """The lines: the run whose last turn is longest ago comes first, and of its tasks the oldest.

    A run's turn counts in all its lines. So a line whose first run had a turn in another one puts it behind the others
    when it is looked at.
    """

    def __init__(self) -> None:
        self._lines: dict[str, dict[str, _Line]] = {}  # by queue, then handler
        self._turns: dict[str, int] = {}  # number of the last turn of each run that waits
        self._waiting: Counter[str] = Counter()  # how many tasks of each run wait
        self._numbers = itertools.count(1)

    def counts(self) -> dict[str, int]:
        """How many tasks wait, by queue; also for other threads, which may see a moment in the middle of a change."""
        queues = list(self._lines.items())
        return {queue: sum(len(line) for line in list(lines.values())) for queue, lines in queues}

    def add(self, attempt: Attempt) -> None:
        """Puts a task at the end of its line."""
        run_id = attempt.task.run_id
        self._waiting[run_id] += 1
        turn = self._turns.setdefault(run_id, 0)
        self._lines.setdefault(attempt.queue, {}).setdefault(attempt.handler, _Line()).add(run_id, attempt, turn)

    def discard(self, attempt: Attempt) -> None:
        """Takes a task out of its line, if it is there."""
        lines = self._lines.get(attempt.queue, {})
        line = lines.get(attempt.handler)
        run_id = attempt.task.run_id
        if line is None or not line.discard(run_id, attempt):
            return
        self._waiting[run_id] -= 1
        if not self._waiting[run_id]:
            del self._waiting[run_id], self._turns[run_id]
        if not line.runs:
            del lines[attempt.handler]
            if not lines:
                del self._lines[attempt.queue]

    def pop(self, queue: str, handlers: Collection[str], may_take: MayTake) -> Attempt | None:
        """Takes out the task of a queue whose turn it is, of those that need one of these handlers; None for none."""
        lines = [line for name, line in self._lines.get(queue, {}).items() if name in handlers]
        first = [attempt for line in lines if (attempt := line.first(self._turns, may_take)) is not None]
        if not first:
            return None
        attempt = min(first, key=lambda attempt: (self._turns[attempt.task.run_id], attempt.number))
        self._turns[attempt.task.run_id] = next(self._numbers)
        self.discard(attempt)
        return attempt


class _Line:
    """The tasks of one queue and handler, by run; `turns` has the last turn of each when it took its place here."""

    def __init__(self) -> None:
        self.runs: OrderedDict[str, OrderedDict[int, Attempt]] = OrderedDict()
        self.turns: dict[str, int] = {}

    def __len__(self) -> int:
        return sum(map(len, list(self.runs.values())))

    def add(self, run_id: str, attempt: Attempt, turn: int) -> None:
        if run_id not in self.runs:
            self.runs[run_id], self.turns[run_id] = OrderedDict(), turn
        self.runs[run_id][attempt.number] = attempt

    def discard(self, run_id: str, attempt: Attempt) -> bool:
        tasks = self.runs.get(run_id, OrderedDict())
        if tasks.pop(attempt.number, None) is None:
            return False
        if not tasks:
            del self.runs[run_id], self.turns[run_id]
        return True

    def first(self, turns: dict[str, int], may_take: MayTake) -> Attempt | None:
        while self.turns[run_id := next(iter(self.runs))] != turns[run_id]:
            self.turns[run_id] = turns[run_id]
            self.runs.move_to_end(run_id)
        oldest = (next(iter(tasks.values())) for tasks in self.runs.values())
        return next(filter(may_take, oldest), None)
