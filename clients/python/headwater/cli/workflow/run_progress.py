"""How far a run is, from its events, for the tree and the lines."""

from __future__ import annotations

import contextlib
import graphlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from headwater._values.durations import seconds_of
from headwater._workflow.result import StepStatus, error_of, skipped_in_words, status_of_run, status_of_step
from headwater.v1 import workflow_pb2
from headwater.v1.workflow_pb2 import WorkflowEvent

ENDED = frozenset({StepStatus.COMPLETED, StepStatus.FAILED, StepStatus.SKIPPED, StepStatus.CANCELLED})
_UNDER_WAY = frozenset({StepStatus.RUNNING, StepStatus.WAITING_FOR_WORKER, StepStatus.RETRYING})
_TAIL = 400


@dataclass
class StepProgress:
    """A step.

    Attributes:
        depth: how many steps come before it at least, along its longest way.
        started, ended: of its latest attempt, in seconds since the epoch; 0.0 before.
        tail: the end of its attempt's output so far; of its thinking while there is no other output.
        result: JSON text.
        reported: the progress that its handler has reported last, JSON text.
    """

    name: str
    depends_on: tuple[str, ...] = ()
    depth: int = 0
    status: StepStatus = StepStatus.PENDING
    attempt: int = 0
    started: float = 0.0
    ended: float = 0.0
    error: str = ""
    queue: str = ""
    delay: float = 0.0
    tail: str = ""
    thinking: str = ""
    result: str = ""
    reported: str = ""

    def begin(self, status: StepStatus) -> None:
        """Voids the earlier output and failures of the step."""
        self.status, self.error, self.queue, self.tail, self.thinking = status, "", "", "", ""
        self.ended = self.delay = 0.0

    def end(self, status: StepStatus, now: float, *, error: str = "", result: str = "") -> None:
        """The step has ended."""
        self.status, self.ended, self.error, self.result = status, now, error, result


@dataclass
class RunProgress:
    """A run. `status` is None until an event or the server has said it."""

    run_id: str
    name: str = ""
    steps: dict[str, StepProgress] = field(default_factory=dict)
    status: StepStatus | None = None
    error: str = ""
    started: float = 0.0
    ended: float = 0.0

    @classmethod
    def of(cls, run_id: str, workflow: workflow_pb2.Workflow) -> RunProgress:
        """A run of a definition before its first event."""
        steps = {step.name: StepProgress(step.name, tuple(step.depends_on)) for step in workflow.steps}
        for step in in_order(steps.values()):
            step.depth = max((steps[name].depth + 1 for name in step.depends_on if name in steps), default=0)
        return cls(run_id, workflow.name, steps)

    def take_over(self, run: workflow_pb2.WorkflowRun) -> None:
        """Sets every step to how the server describes it."""
        self.started = seconds_of(run.create_time)
        for message in run.steps:
            step = self._step(message.name)
            step.status = status_of_step(message.status)
            step.attempt, step.error, step.queue = message.attempt, error_of(message), message.queue
            step.started, step.ended = seconds_of(message.start_time), seconds_of(message.end_time)
            step.result, step.reported = message.result_json, message.progress_json

    def apply(self, event: WorkflowEvent) -> None:
        """Takes an event in. Of a kind that is not known, it changes nothing."""
        now = seconds_of(event.create_time)
        match event.WhichOneof("event"):
            case "run_started":
                self.status, self.started = StepStatus.RUNNING, now
            case "run_resumed":
                self._resume()
            case "run_finished":
                finished = event.run_finished
                self.status, self.error, self.ended = status_of_run(finished.status), finished.failure.message, now
            case str() as kind if event.step:
                self._apply_to_step(event, kind, self._step(event.step), now)

    def count(self, *statuses: StepStatus) -> int:
        """How many steps are so far."""
        return sum(step.status in statuses for step in self.steps.values())

    def _step(self, name: str) -> StepProgress:
        return self.steps.setdefault(name, StepProgress(name))

    def _resume(self) -> None:
        self.status, self.error, self.ended = StepStatus.RUNNING, "", 0.0
        again = _UNDER_WAY | {StepStatus.FAILED, StepStatus.CANCELLED}
        reset: set[str] = set()
        for step in in_order(self.steps.values()):
            follows = step.status is StepStatus.SKIPPED and not reset.isdisjoint(step.depends_on)
            if step.status in again or follows:
                step.begin(StepStatus.PENDING)
                reset.add(step.name)

    def _apply_to_step(self, event: WorkflowEvent, kind: str, step: StepProgress, now: float) -> None:
        match kind:
            case "step_started":
                step.begin(StepStatus.RUNNING)
                step.attempt, step.started = event.attempt, now
            case "step_waiting":
                step.begin(StepStatus.WAITING_FOR_WORKER)
                step.attempt, step.queue = event.attempt, event.step_waiting.queue
            case "step_retrying":
                step.begin(StepStatus.RETRYING)
                step.error, step.delay = event.step_retrying.failure.message, seconds_of(event.step_retrying.delay)
            case "step_chunk" if event.attempt >= step.attempt:
                step.attempt = event.attempt
                step.tail = (step.tail + event.step_chunk.content)[-_TAIL:]
                step.thinking = (step.thinking + event.step_chunk.thinking)[-_TAIL:]
            case "step_progress":
                step.reported = event.step_progress.progress_json
            case "step_completed":
                step.end(StepStatus.COMPLETED, now, result=event.step_completed.result_json)
            case "step_failed":
                step.end(StepStatus.FAILED, now, error=event.step_failed.failure.message)
            case "step_skipped":
                skipped = event.step_skipped
                step.end(StepStatus.SKIPPED, now, error=skipped_in_words(skipped.reason, skipped.because_of))
            case "step_cancelled":
                step.end(StepStatus.CANCELLED, now)


def in_order(steps: Iterable[StepProgress]) -> list[StepProgress]:
    """Steps so that each comes after those it depends on; those of a cycle, which no server takes, are left out."""
    by_name = {step.name: step for step in steps}
    sorter = graphlib.TopologicalSorter(dict.fromkeys(by_name, ()))
    for name, step in by_name.items():
        sorter.add(name, *(other for other in step.depends_on if other in by_name))
    with contextlib.suppress(graphlib.CycleError):  # those that are not in a cycle, nor after one, come all the same
        sorter.prepare()
    order: list[str] = []
    while ready := sorter.get_ready():
        order += ready
        sorter.done(*ready)
    return [by_name[name] for name in order]


def took(start: float, end: float) -> str:
    """A length of time for people; empty when one end is not known."""
    if not start or not end:
        return ""
    seconds = max(end - start, 0.0)
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
