"""How much of the workers one run may hold, so that others begin although its handlers hang.

Places are kept for runs that hold none (see `turns`), among the workers of a queue that have the same handlers. So a
task finds its place although a run hangs, whatever handler it needs:

    two workers have `g` and `h`, four places each; one has `h`, eight places
    one run with hanging steps gets 7 of each 8 places
"""

from __future__ import annotations

from collections.abc import Iterable

from headwater_server.workflows.turns import may_take
from headwater_server.workflows.workers.tasks import Worker


def may_give(worker: Worker, run_id: str, workers: Iterable[Worker]) -> bool:
    """Whether a worker with room may take one more task of a run; `workers` are those of its queue.

    Those that have the same handlers share the very set of their names.
    """
    alike = [each for each in workers if each.is_able and each.handlers is worker.handlers]
    places = sum(each.concurrency for each in alike)
    free = sum(max(each.concurrency - each.places_taken, 0) for each in alike)
    return may_take(1, free, places) or (may_take(0, free, places) and not any(w.works_for(run_id) for w in alike))
