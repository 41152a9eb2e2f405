"""Runs the steps of one workflow: starts attempts, records every change, and ends the run.

Theory of operation. The scheduler works moment by moment. A moment begins when something has happened: an attempt has
ended, a delay is over, or the run is cancelled. The scheduler then draws every conclusion: it merges the outcome of a
step, and skips steps that can no longer run. It awaits `decide` for the condition of each step that can start. The
conclusions are in private memory (`progress`) and in a list of transitions. One call of `record` makes the list
durable. After that the list is published in the state that others read, and the new attempts start. Events in the
meantime belong to the next moment. So a crash leaves the state between two moments, and a step that was reported
complete stays complete.

The answer to a condition is recorded as its effect: the step starts, is skipped, or fails. So it is asked once.

There is no clock, randomness or I/O here, and no order that depends on the addresses of objects: ended attempts are
taken in the order in which the event loop reports them. Time passes only in `asyncio.sleep`. So the same outcomes in
the same order give the same transitions, which is what an engine that replays needs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

from headwater_server.domain.errors import Reason
from headwater_server.domain.failure import Failure, StepError
from headwater_server.domain.workflow import (
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
from headwater_server.workflows.engine.progress import Moment, Progress

Execute: TypeAlias = Callable[[Step, int, Mapping[str, str], Mapping[str, str]], Awaitable[Outcome]]
"""Makes one attempt: the step, the attempt's number, the context as it is now, the results of its dependencies.

The scheduler of a resumed run calls it for an attempt of a handler that may still run from before; it raises
AttemptLostError when that attempt is lost. Raises StepError when it fails. Any other exception counts as a failure that
may pass. Neither mapping may be changed.
"""
Record: TypeAlias = Callable[[Sequence[Transition]], Awaitable[None]]
"""Makes transitions durable, all or none, before it returns."""
Decide: TypeAlias = Callable[[Step, Mapping[str, str]], Awaitable[bool]]
"""Whether the condition of a step holds in the context. Raises StepError when it gives no answer."""
Spread: TypeAlias = Callable[[float], float]
"""Makes of the delay before another attempt one that differs from those of other steps, in seconds."""


def no_spread(seconds: float) -> float:
    """Leaves a delay as it is."""
    return seconds


class Scheduler:
    """Drives one run from its state to its end.

    Args:
        workflow: a definition without mistakes (`graph.violations`).
        state: how far the run is; must be running. Only what has been recorded is ever seen in it.
        execute: makes one attempt of a step; cancelling it interrupts the attempt.
        record: makes transitions durable. When it raises, `run` raises the same.
        decide: decides conditions; cancelling it leaves one undecided.
        spread: spreads the delays of retry policies; a delay that a failure asks for is kept.
    """

    def __init__(
        self,
        workflow: Workflow,
        state: RunState,
        execute: Execute,
        record: Record,
        decide: Decide,
        spread: Spread = no_spread,
    ) -> None:
        self._state = state
        self._execute = execute
        self._record = record
        self._decide = decide
        self._progress = Progress(workflow, state, spread)
        self._attempts: dict[str, asyncio.Task[Outcome]] = {}
        self._delays: dict[str, asyncio.Task[None]] = {}
        self._question: asyncio.Future[bool] | None = None  # the condition that is being decided
        self._interrupted: set[str] = set()
        self._ended: list[tuple[str, Outcome | BaseException | None]] = []  # attempts; None: cancelled
        self._elapsed: list[str] = []  # steps whose delay is over
        self._wake = asyncio.Event()
        self._cancelling = False
        self._stopping = False

    @property
    def size(self) -> int:
        """Bytes of the run's context and results."""
        return self._progress.size

    def cancel(self) -> bool:
        """Ends the run: interrupts what runs, cancels what has not ended. `run` returns when that is recorded.

        Returns whether it was not cancelled before.
        """
        is_first, self._cancelling = not self._cancelling, True
        self._leave_question()
        self._wake.set()
        return is_first

    def stop(self) -> None:
        """Starts nothing more. `run` returns when no attempt runs any more; the run can then be resumed elsewhere.

        An attempt that waits for a worker does not run, and is interrupted.
        """
        self._stopping = True
        self._leave_question()
        self._wake.set()

    def _leave_question(self) -> None:
        if self._question is not None:
            self._question.cancel()

    async def run(self) -> None:
        """Runs until the run has ended, or has stopped.

        When its task is cancelled, or `record` fails, the attempts are cancelled and waited for, and nothing more is
        recorded: the run can be resumed from its last record.
        """
        try:
            await self._run()
        finally:
            await self._interrupt()

    async def _run(self) -> None:
        moment = Moment()
        self._progress.resume_steps(moment)
        while True:
            await self._begin(moment)
            if self._progress.has_ended:
                self._progress.finish(moment)
            await self._commit(moment)
            if self._state.status is not RunStatus.RUNNING:
                return
            if self._cancelling:
                await self._interrupt()
                moment = self._collect()
                self._progress.cancel(moment)
                await self._commit(moment)
                return
            if not self._stopping:
                self._act(moment)
            elif not any(self._state.steps[name].status is StepStatus.RUNNING for name in self._attempts):
                return  # the remaining attempts wait for a worker
            await self._wake.wait()
            self._wake.clear()
            moment = self._collect()

    async def _begin(self, moment: Moment) -> None:
        """Begins every attempt that can, unless the run is cancelled or stops meanwhile."""
        while not (self._stopping or self._cancelling):
            question = self._progress.begin(moment)
            if question is None:
                return
            self._question = asyncio.ensure_future(self._decide(*question))
            try:
                answer: bool | StepError = await self._question
            except StepError as error:
                answer = error
            except asyncio.CancelledError:
                if _is_cancelled() or not (self._stopping or self._cancelling):
                    raise
                return  # the step is as it was
            finally:
                self._question = None
            self._progress.answer(moment, answer)

    def _collect(self) -> Moment:
        """The conclusions from everything that has happened since the last moment."""
        moment = Moment()
        ended, self._ended = self._ended, []
        for name, outcome in ended:
            if isinstance(outcome, Outcome):
                self._progress.conclude(moment, name, outcome, retry=False)
            elif name in self._interrupted or (outcome is None and self._stopping):
                pass  # its failure means nothing: it is cancelled, or starts over elsewhere
            else:
                self._progress.conclude(moment, name, _step_error(outcome), retry=not self._cancelling)
        elapsed, self._elapsed = self._elapsed, []
        for name in elapsed:
            self._progress.delay_over(name)
        return moment

    async def _commit(self, moment: Moment) -> None:
        if not moment.transitions:
            return
        await self._record(moment.transitions)
        for transition in moment.transitions:
            if transition.step is not None:
                self._state.steps[transition.step.name] = transition.step
            for key in transition.deleted:
                self._state.context.pop(key, None)
            self._state.context.update(transition.context)
            if transition.event.run_status is not None:
                self._state.status = transition.event.run_status
                self._state.failure = transition.event.failure
                self._state.failed_steps = transition.event.failed_steps

    def _act(self, moment: Moment) -> None:
        for step, attempt, context in moment.attempts:
            task = asyncio.create_task(self._attempt(step, attempt, context, self._progress.results(step)))
            self._attempts[step.name] = task
            task.add_done_callback(partial(self._attempt_ended, step.name))
        for step, seconds in moment.delays:
            delay = asyncio.create_task(asyncio.sleep(seconds))
            self._delays[step.name] = delay
            delay.add_done_callback(partial(self._delay_ended, step.name))

    async def _attempt(
        self, step: Step, attempt: int, context: Mapping[str, str], results: Mapping[str, str]
    ) -> Outcome:
        return await self._execute(step, attempt, context, results)

    def _attempt_ended(self, name: str, task: asyncio.Task[Outcome]) -> None:
        del self._attempts[name]
        self._ended.append((name, None if task.cancelled() else task.exception() or task.result()))
        self._wake.set()

    def _delay_ended(self, name: str, task: asyncio.Task[None]) -> None:
        del self._delays[name]
        if not task.cancelled():
            self._elapsed.append(name)
            self._wake.set()

    async def _interrupt(self) -> None:
        """Cancels attempts and delays, and waits for the end of each, even when the waiting is cancelled itself."""
        for name, attempt in self._attempts.items():
            if attempt.cancel():
                self._interrupted.add(name)
        for delay in self._delays.values():
            delay.cancel()
        cancelled: asyncio.CancelledError | None = None
        while running := [*self._attempts.values(), *self._delays.values()]:
            try:
                await asyncio.wait(running)
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled


def prepare_resume(workflow: Workflow, state: RunState) -> list[Transition]:
    """Makes a run ready for a scheduler again: changes its state, and returns what is to be recorded first.

    In a run that has ended, the steps that failed, were cancelled, or were skipped because of those, start over; they
    are in `Transition.also`. In one that has not, the scheduler knows what to do.
    """
    if state.status is RunStatus.RUNNING:
        return [Transition(RunEvent(EventType.RUN_RESUMED))]
    state.status, state.failure, state.failed_steps = RunStatus.RUNNING, None, ()
    again = []
    for step in workflow.steps:
        before = state.steps[step.name]
        failed = before.status in {StepStatus.FAILED, StepStatus.CANCELLED}
        if failed or before.skip_reason is SkipReason.DEPENDENCY_FAILED:
            after = StepState(step.name, attempt=before.attempt, started=before.started, reply=before.reply)
            state.steps[step.name] = after
            again.append(after)
    return [Transition(RunEvent(EventType.RUN_RESUMED), also=tuple(again))]


def _is_cancelled() -> bool:
    """Whether the task itself is cancelled, not only something that it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _step_error(outcome: BaseException | None) -> StepError:
    if isinstance(outcome, StepError):
        return outcome
    if outcome is None:
        return StepError(Failure(Reason.INTERNAL, "the attempt was cancelled, but the run was not"))
    return StepError(Failure(Reason.INTERNAL, str(outcome), type=type(outcome).__name__))
