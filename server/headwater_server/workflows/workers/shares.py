"""How much of the workers one run may hold, so that others begin although its handlers hang."""

from __future__ import annotations

from collections.abc import Collection

from headwater_server.workflows.turns import may_take
from headwater_server.workflows.workers.tasks import Worker


def may_give(worker: Worker, run_id: str, workers: Collection[Worker]) -> bool:
    """Whether a worker with room may take one more task of a run; `workers` are those of its queue.

    Places are kept for runs that hold none, on the worker and on the queue as a whole: see `turns`.
    """
    return _has_place([worker], run_id) and _has_place(workers, run_id)


def _has_place(workers: Collection[Worker], run_id: str) -> bool:
    able = [worker for worker in workers if worker.is_able]
    places = sum(worker.concurrency for worker in able)
    free = sum(max(worker.concurrency - worker.places_taken, 0) for worker in able)
    return may_take(1, free, places) or (may_take(0, free, places) and not any(w.works_for(run_id) for w in able))
