"""Executes steps: a model answers the prompt, or a worker runs the handler."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TypeAlias

from headwater_server.domain.call_origin import origin
from headwater_server.domain.errors import Reason
from headwater_server.domain.failure import Failure, StepError
from headwater_server.domain.json_text import to_json
from headwater_server.domain.messages import AgentConfig
from headwater_server.domain.workflow import (
    EventType,
    Outcome,
    RunEvent,
    RunState,
    Step,
    StepStatus,
    Transition,
)
from headwater_server.telemetry.call_facts import part_facts
from headwater_server.telemetry.metrics import Metrics
from headwater_server.telemetry.tracing.spans import StepSpan, Tracer
from headwater_server.workflows.engine.replies import Reply, whole_outcome
from headwater_server.workflows.engine.run_log import RunLog
from headwater_server.workflows.engine.scheduler import Execute
from headwater_server.workflows.expressions.evaluator import Asker
from headwater_server.workflows.expressions.expressions import Expressions
from headwater_server.workflows.journal.base import RunInfo
from headwater_server.workflows.turns import Turns
from headwater_server.workflows.workers.pool import WorkerPool
from headwater_server.workflows.workers.tasks import Attempt, NotBegunError, Reports, TaskSpec

OnChunk: TypeAlias = Callable[[str, str], Awaitable[None]]
Act: TypeAlias = Callable[[AgentConfig, str, OnChunk], Awaitable[Reply]]
"""Asks a workflow's agent a prompt; gives text and thinking as they come, then the whole reply. Raises StepError."""

MAX_ACTIONS = 256
"""Prompts that are answered at once, in turns of runs; the others wait, before their time runs. Each run has one."""


class StepRunner:
    """Executes attempts of steps.

    Args:
        workers: has the handlers.
        act: answers the actions.
        expressions: fills in prompts.
        metrics: count attempts, and runs for their owner.
        tracer: makes spans of both; None: there are no traces.
    """

    def __init__(
        self,
        workers: WorkerPool,
        act: Act,
        expressions: Expressions,
        metrics: Metrics | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self.metrics = metrics or Metrics()
        self._tracer = tracer
        self._workers = workers
        self._act = act
        self._expressions = expressions
        self._draining = False
        self._actions = Turns(MAX_ACTIONS, one_for_each=True)
        self._beginning = asyncio.Lock()

    def handlers(self, queue: str) -> frozenset[str]:
        """The names that the connected workers of the queue have."""
        return self._workers.handlers(queue)

    def drain(self) -> None:
        """Fails no attempt from now on that can start over: this server's shutdown may be the cause."""
        self._draining = True
        self._workers.drain()

    def bind(self, info: RunInfo, state: RunState, run_log: RunLog, asker: Asker) -> Execute:
        """The function that the scheduler of a run calls for each attempt. `asker`: the run, for its expressions."""
        expected = self._expected(info, state, run_log)
        fill = functools.partial(self._expressions.fill, asker)

        async def execute(
            step: Step, attempt: int, context: Mapping[str, str], dependencies: Mapping[str, str]
        ) -> Outcome:
            # An attempt has a task, and so a context, to itself.
            part_facts(run_id=info.run_id, step=step.name, attempt=attempt)

            async def attempt_step() -> Outcome:
                if (left := expected.pop(step.name, None)) is not None:
                    with contextlib.suppress(NotBegunError):
                        return await self._workers.rejoin(left, step.timeout_seconds)
                if step.handler:
                    filled, left_over = step, dependencies
                    if step.is_prompt:
                        filled, left_over = await fill(step, context, dependencies), {}
                    return await self._handle(info, state, run_log, filled, attempt, context, left_over, span)
                async with self._actions.place(info.run_id):
                    await self._begin_in_turn()
                    return await self._ask(info, run_log, await fill(step, context, dependencies), attempt)

            span = self._begin_span(info, step, attempt)
            ended = Reason.INTERNAL.value
            try:
                outcome = whole_outcome(step, info.workflow.agent.overlaid(step.agent), await attempt_step())
                ended = "completed"
                return outcome
            except asyncio.CancelledError:
                ended = "cancelled"
                raise
            except StepError as error:
                ended = error.failure.reason.value
                if self._draining and not step.retry_policy.is_at_most_once:  # the next process starts it over
                    raise asyncio.CancelledError from error
                raise
            finally:
                self.metrics.step_ended(ended)
                if span is not None:
                    span.end(ended, is_error=ended not in ("completed", "cancelled"))

        return execute

    def _begin_span(self, info: RunInfo, step: Step, attempt: int) -> StepSpan | None:
        """Makes an attempt a span, the parent of all that its task does; where there are traces."""
        if self._tracer is None:
            return None
        span = self._tracer.step(info.run_id, step.name, attempt, step.handler, step.queue or info.queue)
        origin.set(span.headers)
        return span

    def begin_run(self, info: RunInfo) -> StepSpan | None:
        """Makes a run a span, the parent of all that its task does; where there are traces."""
        if self._tracer is None:
            return None
        span = self._tracer.run(info.run_id, info.workflow.name)
        origin.set(span.headers)
        return span

    async def _begin_in_turn(self) -> None:
        """Waits so that at most one action begins in a turn of the event loop: hundreds at once would hold it."""
        async with self._beginning:
            await asyncio.sleep(0)

    def _expected(self, info: RunInfo, state: RunState, run_log: RunLog) -> dict[str, Attempt]:
        """The attempts that workers may have from the process before this one, by step."""
        expected = {}
        for step in info.workflow.steps:
            now = state.steps[step.name]
            if step.handler and now.status is StepStatus.RUNNING:
                task = TaskSpec(info.run_id, info.workflow.name, step, now.attempt)
                reports = _reports(state, run_log, step.name, now.attempt)
                expected[step.name] = self._workers.expect(task, step.queue or info.queue, reports)
        return expected

    async def _ask(self, info: RunInfo, run_log: RunLog, step: Step, attempt: int) -> Outcome:
        async def on_chunk(content: str, thinking: str) -> None:
            await run_log.add_chunk(step.name, attempt, content, thinking)

        agent = info.workflow.agent.overlaid(step.agent)
        limit = asyncio.timeout(None)
        try:
            async with limit:
                if step.timeout_seconds is not None:
                    limit.reschedule(asyncio.get_running_loop().time() + step.timeout_seconds)
                reply = await self._act(agent, step.action, on_chunk)
        except TimeoutError as error:
            if not limit.expired():
                raise
            message = f"the model took longer than {step.timeout_seconds:g} s"
            raise StepError(Failure(Reason.STEP_TIMEOUT, message)) from error
        return Outcome(json.dumps(reply.text, ensure_ascii=False), reply=reply.facts)

    async def _handle(
        self,
        info: RunInfo,
        state: RunState,
        run_log: RunLog,
        step: Step,
        attempt: int,
        context: Mapping[str, str],
        dependencies: Mapping[str, str],
        span: StepSpan | None,
    ) -> Outcome:
        async def report(kind: EventType, status: StepStatus, queue: str) -> None:
            now = replace(state.steps[step.name], status=status, queue=queue)
            await run_log.record([Transition(RunEvent(kind, step=step.name, attempt=attempt, queue=queue), now)])
            state.steps[step.name] = now
            if span is not None:
                span.note(status.value)

        async def on_waiting(queue: str) -> None:
            await report(EventType.STEP_WAITING, StepStatus.WAITING_FOR_WORKER, queue)

        async def on_started() -> None:
            await report(EventType.STEP_STARTED, StepStatus.RUNNING, "")

        task = TaskSpec(
            run_id=info.run_id,
            workflow_name=info.workflow.name,
            step=step,
            attempt=attempt,
            context=context,
            dependencies=dependencies,
            agent=info.workflow.agent.overlaid(step.agent),
            progress=state.progress.get(step.name, ""),
            origin=origin.get(),
        )
        return await self._workers.run_task(
            task,
            step.queue or info.queue,
            schedule_timeout_seconds=info.workflow.schedule_timeout_seconds,
            timeout_seconds=step.timeout_seconds,
            on_waiting=on_waiting,
            on_started=on_started,
            reports=_reports(state, run_log, step.name, attempt),
        )


def _reports(state: RunState, run_log: RunLog, step: str, attempt: int) -> Reports:
    """Records what an attempt says."""

    async def warn(text: str) -> None:
        await run_log.record([Transition(RunEvent(EventType.RUN_WARNING, step=step, attempt=attempt, message=text))])

    def note(progress: str) -> None:
        state.progress[step] = progress
        run_log.add_progress(step, attempt, progress)

    return Reports(functools.partial(run_log.add_chunk, step, attempt), warn, note)


def json_object(values: Mapping[str, str]) -> str:
    """Values that are JSON text already, as the text of one object."""
    return "{" + ", ".join(f"{to_json(key)}: {text}" for key, text in values.items()) + "}"
