"""Draws the conclusions from the events of a run, step by step; `scheduler` acts on them.

A step waits for a number of dependencies; when the number is 0 it is either skipped or put in a heap of ready steps,
ordered as in the definition. Each dependency is followed once, so the cost of a run is that of its steps and edges.
A step is in progress from its first attempt to its end, delays between attempts included: an exclusive step begins
when nothing is in progress, and nothing begins while it is.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from headwater_server.domain.chunks import ReplyFacts, total_usage
from headwater_server.domain.errors import Reason
from headwater_server.domain.failure import AttemptLostError, Failure, StepError
from headwater_server.domain.workflow import (
    ENDED_STEP,
    EventType,
    Outcome,
    RunEvent,
    RunState,
    RunStatus,
    SkipReason,
    Step,
    StepState,
    StepStatus,
    Transition,
    Workflow,
)
from headwater_server.workflows.engine.context import NOTHING, Merge, SharedContext
from headwater_server.workflows.engine.failures import at_most_once, run_failure
from headwater_server.workflows.engine.skips import MAX_NAMES, silenced, skip_of

Question: TypeAlias = tuple[Step, Mapping[str, str]]
"""Whether the condition of a step holds in a context."""

_IN_PROGRESS = frozenset({StepStatus.RUNNING, StepStatus.WAITING_FOR_WORKER, StepStatus.RETRYING})


@dataclass(slots=True)
class Moment:
    """The conclusions of one moment: transitions to record, then attempts to start and delays to wait for."""

    transitions: list[Transition] = field(default_factory=list)
    attempts: list[tuple[Step, int, Mapping[str, str]]] = field(default_factory=list)
    delays: list[tuple[Step, float]] = field(default_factory=list)

    def note(self, event: RunEvent, step: StepState | None = None, merge: Merge = NOTHING) -> None:
        """Adds a transition."""
        self.transitions.append(Transition(event, step, merge.changes, merge.deleted))


class Progress:
    """How far a run is, including changes that are not recorded yet.

    Its methods draw conclusions and note them in the given moment; they do nothing else.

    Args:
        workflow: a definition without mistakes.
        state: how far the run is; only read.
        spread: see `Scheduler`.
    """

    def __init__(self, workflow: Workflow, state: RunState, spread: Callable[[float], float]) -> None:
        self._spread = spread
        self._definition = workflow.steps
        self._position = {step.name: position for position, step in enumerate(workflow.steps)}
        self._now = {name: state.steps[name] for name in self._position}
        self._context = SharedContext(
            state.context, {f"{name}_result": step.result for name, step in self._now.items() if step.result}
        )
        self._unended = sum(step.status not in ENDED_STEP for step in self._now.values())
        self._dependants: dict[str, list[Step]] = {name: [] for name in self._position}
        self._waits_for: dict[str, int] = {}  # how many dependencies have not ended
        self._ready: list[int] = []  # a heap of positions
        self._in_progress: set[str] = set()
        self._due: list[str] = []  # steps whose next attempt may begin at once
        self._seen: dict[str, int] = {}  # of attempts: the number of the last merge that is in their context

    @property
    def has_ended(self) -> bool:
        """Whether every step has ended."""
        return not self._unended

    @property
    def size(self) -> int:
        """Bytes of the context and the results."""
        return self._context.size

    def results(self, step: Step) -> dict[str, str]:
        """The results of the steps that a step depends on, those that have one."""
        return {name: result for name in step.depends_on if (result := self._now[name].result)}

    def resume_steps(self, moment: Moment) -> None:
        """Begins from the state, in which a crash may have left steps in progress. Call it once, before all others."""
        for step in self._definition:
            if self._now[step.name].status in ENDED_STEP:
                continue
            waits_for = [name for name in step.depends_on if self._now[name].status not in ENDED_STEP]
            self._waits_for[step.name] = len(waits_for)
            for name in waits_for:
                self._dependants[name].append(step)
        begun = [step for step in self._definition if self._now[step.name].status in _IN_PROGRESS]
        self._in_progress.update(step.name for step in begun)
        for step in [step for step in self._definition if self._waits_for.get(step.name) == 0]:
            if step.name not in self._in_progress and not self._make_ready(moment, step):
                self._release(moment, step)
        for step in begun:
            self._resume_step(moment, step)

    def _resume_step(self, moment: Moment, step: Step) -> None:
        """A step was in progress when a crash came. A handler may still run; one that waited for a worker never ran."""
        state = self._now[step.name]
        running = state.status is StepStatus.RUNNING
        least = state.failure.retry_delay_seconds if state.failure else None
        if running and step.handler:
            self._seen[step.name], context = self._context.snapshot()
            moment.attempts.append((step, self._now[step.name].attempt, context))
        elif running and step.retry_policy.is_at_most_once:
            lost = Failure(Reason.INTERNAL, "the server stopped during the attempt")
            self._fail(moment, step, at_most_once(lost))
        elif state.status is StepStatus.RETRYING and least:  # when the delay began is not known
            moment.delays.append((step, least))
        else:
            self._due.append(step.name)

    def delay_over(self, name: str) -> None:
        """The next attempt of a step may begin."""
        self._due.append(name)

    def begin(self, moment: Moment) -> Question | None:
        """Begins every attempt that can, up to a step whose condition must be decided first: see `answer`."""
        due, self._due = self._due, []
        for name in due:
            self._begin(moment, self._definition[self._position[name]])
        while self._ready:
            step = self._definition[self._ready[0]]
            if self._in_progress and (step.exclusive or self._exclusive_in_progress()):
                return None
            if step.condition:
                return step, self._context.snapshot()[1]
            self._begin_ready(moment)
        return None

    def answer(self, moment: Moment, answer: bool | StepError) -> None:
        """The condition of the step that `begin` has returned holds, or does not, or gives no answer."""
        if answer is True:
            self._begin_ready(moment)
            return
        step = self._definition[heapq.heappop(self._ready)]
        if isinstance(answer, StepError):
            self._fail(moment, step, answer.failure)
            return
        event = RunEvent(EventType.STEP_SKIPPED, step=step.name, skip_reason=SkipReason.CONDITION_FALSE)
        self._end(moment, event, StepStatus.SKIPPED)
        self._release(moment, step)

    def _begin_ready(self, moment: Moment) -> None:
        """Begins the first of the ready steps."""
        step = self._definition[heapq.heappop(self._ready)]
        self._in_progress.add(step.name)
        self._begin(moment, step)

    def _exclusive_in_progress(self) -> bool:
        """Whether an exclusive step is in progress; it is always alone."""
        return len(self._in_progress) == 1 and any(
            self._definition[self._position[name]].exclusive for name in self._in_progress
        )

    def _begin(self, moment: Moment, step: Step) -> None:
        state = self._now[step.name]
        attempt = state.attempt + 1
        self._seen[step.name], context = self._context.snapshot()
        after = replace(state, status=StepStatus.RUNNING, attempt=attempt, failure=None, queue="", ended=0.0)
        moment.note(RunEvent(EventType.STEP_STARTED, step=step.name, attempt=attempt), after)
        self._now[step.name] = after
        moment.attempts.append((step, attempt, context))

    def conclude(self, moment: Moment, name: str, outcome: Outcome | StepError, *, retry: bool) -> None:
        """An attempt has ended.

        Args:
            moment: gets the conclusions.
            name: the step.
            outcome: how the attempt ended. An AttemptLostError does not count towards `max_attempts`, and the next
                attempt begins at once.
            retry: False: a step that would be tried again is left in progress.
        """
        step = self._definition[self._position[name]]
        if outcome.reply is not None:
            self._now[name] = replace(self._now[name], reply=_added(self._now[name].reply, outcome.reply))
        if isinstance(outcome, StepError):
            self._conclude_failure(moment, step, outcome, retry=retry)
            return
        try:
            merge = self._context.merge(step, outcome, self._seen[name])
        except StepError as error:
            error.reply = outcome.reply
            self._conclude_failure(moment, step, error, retry=retry)
        else:
            self._complete(moment, step, outcome, merge)

    def _conclude_failure(self, moment: Moment, step: Step, error: StepError, *, retry: bool) -> None:
        failure, policy = error.failure, step.retry_policy
        counts = not isinstance(error, AttemptLostError)
        failures = self._now[step.name].failures + counts
        if policy.is_at_most_once and failure.reason is Reason.WORKER_LOST:
            failure = at_most_once(failure)
        if failure.non_retryable or (counts and failures >= policy.max_attempts):
            self._now[step.name] = replace(self._now[step.name], failures=failures)
            self._fail(moment, step, failure, error.reply)
        elif retry:
            least = failure.retry_delay_seconds or 0.0
            delay = max(self._spread(policy.delay_seconds(failures)), least) if counts else 0.0
            event = RunEvent(EventType.STEP_RETRYING, failure=failure, delay_seconds=delay, reply=error.reply)
            self._retry(moment, step, event, failures)

    def _complete(self, moment: Moment, step: Step, outcome: Outcome, merge: Merge) -> None:
        event = RunEvent(EventType.STEP_COMPLETED, step=step.name, result=outcome.result, reply=outcome.reply)
        self._end(moment, event, StepStatus.COMPLETED, merge)
        for conflict in merge.conflicts:
            text = (
                f"steps `{conflict.other}` and `{step.name}` ran at the same time and both changed the context's key "
                f"`{conflict.key}`; `{step.name}` ended later, so its change stays"
            )
            attempt = self._now[step.name].attempt
            moment.note(
                RunEvent(EventType.RUN_WARNING, step=step.name, attempt=attempt, context_key=conflict.key, message=text)
            )
        self._release(moment, step)

    def _fail(self, moment: Moment, step: Step, failure: Failure, reply: ReplyFacts | None = None) -> None:
        event = RunEvent(EventType.STEP_FAILED, step=step.name, failure=failure, reply=reply)
        self._end(moment, event, StepStatus.FAILED)
        self._release(moment, step)

    def _retry(self, moment: Moment, step: Step, event: RunEvent, failures: int) -> None:
        state = self._now[step.name]
        after = replace(state, status=StepStatus.RETRYING, failures=failures, failure=event.failure, queue="")
        event.step, event.attempt = step.name, state.attempt
        moment.note(event, after)
        self._now[step.name] = after
        moment.delays.append((step, event.delay_seconds))

    def _end(self, moment: Moment, event: RunEvent, status: StepStatus, merge: Merge = NOTHING) -> None:
        state = self._now[event.step]
        event.attempt = state.attempt
        after = replace(
            state,
            status=status,
            result=event.result,
            failure=event.failure,
            skip_reason=event.skip_reason,
            skipped_because_of=event.because_of,
            queue="",
        )
        moment.note(event, after, merge)
        self._now[event.step] = after
        self._in_progress.discard(event.step)
        self._unended -= 1

    def _release(self, moment: Moment, step: Step) -> None:
        """The step has ended, which may make others ready, or skip them, and those that depend on them, and so on."""
        ended = deque([step.name])
        while ended:
            for dependant in self._dependants[ended.popleft()]:
                self._waits_for[dependant.name] -= 1
                if not self._waits_for[dependant.name] and not self._make_ready(moment, dependant):
                    ended.append(dependant.name)

    def _make_ready(self, moment: Moment, step: Step) -> bool:
        """All dependencies of the step have ended. False when it is skipped because of them."""
        names = sorted(step.depends_on, key=self._position.__getitem__)
        dependencies = [self._now[name] for name in names]
        skip = skip_of(step, dependencies, self._position)
        if skip is None:
            heapq.heappush(self._ready, self._position[step.name])
            return True
        if (warning := silenced(step, skip, dependencies)) is not None:
            moment.note(warning)
        self._end(moment, skip, StepStatus.SKIPPED)
        return False

    def cancel(self, moment: Moment) -> None:
        """Cancels the steps that have not ended, and ends the run. Call it when no attempt runs any more."""
        cancelled = [state for state in self._now.values() if state.status not in ENDED_STEP]
        for state in cancelled:
            self._end(moment, RunEvent(EventType.STEP_CANCELLED, step=state.name), StepStatus.CANCELLED)
        self.finish(moment, cancelled=bool(cancelled))

    def finish(self, moment: Moment, *, cancelled: bool = False) -> None:
        """Ends the run. Call it when every step has ended."""
        failed = [state for state in self._now.values() if state.status is StepStatus.FAILED]
        names = tuple(state.name for state in failed[:MAX_NAMES])
        usage = total_usage(state.reply.usage for state in self._now.values() if state.reply)
        event = RunEvent(EventType.RUN_FINISHED, run_status=RunStatus.COMPLETED, failed_steps=names, usage=usage)
        if cancelled:
            event.run_status = RunStatus.CANCELLED
        elif failed:
            event.run_status, event.failure = RunStatus.FAILED, run_failure(failed)
        moment.note(event)


def _added(before: ReplyFacts | None, reply: ReplyFacts) -> ReplyFacts:
    """A reply with the tokens of the earlier ones added to its."""
    return reply if before is None else replace(reply, usage=total_usage([before.usage, reply.usage]))
