"""The step that a handler runs for, as the handler sees it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

from headwater._values.json_values import exact_json

MAX_PROGRESS_BYTES = 64 * 1024
_HERE = ("_cancelled", "_report")


def _in_another_process(_: str) -> None:
    raise RuntimeError("this copy of the step is in another process; call step.heartbeat in the process of its worker")


@dataclass(frozen=True, slots=True)
class HandlerStep:
    """The step that a handler runs for.

    Attributes:
        name: its name.
        action: its label.
        handler: the name under which the handler is registered.
        depends_on: names of the steps that it depends on.
        metadata: the value of `add_step(metadata=...)`.
        attempt: number of this attempt, from 1.
        description: its purpose.
        run_id: id of the run.
        idempotency_key: the same in all attempts of this step of this run, and different for every other step: for
            calls to other services that must take effect once.
    """

    name: str
    action: str
    handler: str
    depends_on: list[str]
    metadata: dict[str, Any]
    attempt: int
    description: str
    run_id: str
    idempotency_key: str
    last_progress: Any = None
    request_id: str = ""
    traceparent: str = ""
    _report: Callable[[str], None] = field(default=_in_another_process, repr=False, compare=False)
    _cancelled: threading.Event = field(default_factory=threading.Event, repr=False, compare=False)

    @property
    def cancelled(self) -> bool:
        """Whether the result of this attempt is no longer wanted: its run was cancelled, its time is over, or its
        worker stops. A function that is not async is to look at it between pieces of work, and to return then.
        """
        return self._cancelled.is_set()

    def wait_cancelled(self, seconds: float) -> bool:
        """Wait until the attempt is cancelled, at most so many seconds; whether it is. Blocks: for threads only."""
        return self._cancelled.wait(seconds)

    def heartbeat(self, progress: Any) -> None:
        """Report how far the step is; from any thread, and as often as you like, because it does not wait.

        Watchers of the run see it, and the next attempt of the step has the last one as `last_progress`. One a second
        is sent, and the latest before the step ends. The worker itself is alive without: that needs no call.

        Args:
            progress: any JSON value, at most 64 KiB.

        Raises:
            NotJsonError: it cannot be sent. Not caught, it fails the step for good.
        """
        name = f"the progress of step {self.name!r}"
        self._report(exact_json(name, progress, MAX_PROGRESS_BYTES))

    def __getstate__(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name not in _HERE}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in (state | {"_cancelled": threading.Event(), "_report": _in_another_process}).items():
            object.__setattr__(self, name, value)
