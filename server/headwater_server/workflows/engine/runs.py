"""All runs of this server: starts, watches, cancels and resumes them, also after a crash.

Theory of operation. A run that has not ended is active: it has a log, a scheduler and a task that drives it. Every
event goes through the log, which makes it durable before any watcher sees it. So the journal always has at least the
events that a watcher saw, and a run that this process leaves behind (by a crash, or because the server drains) can be
resumed from the journal alone. A run that has ended is read from the journal.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any, TypeVar

import structlog

from headwater_server.callers.caller import Caller, caller, visible_owner
from headwater_server.domain.call_origin import origin
from headwater_server.domain.errors import HeadwaterError, Reason, draining
from headwater_server.domain.failure import Failure
from headwater_server.domain.workflow import EventType, RunEvent, RunState, RunStatus, StepState
from headwater_server.eventlog.stored_events import StoredEvent
from headwater_server.telemetry.audit import audit
from headwater_server.telemetry.background import in_background
from headwater_server.telemetry.logging import fault_facts
from headwater_server.workflows.engine.active import DEFAULT_LIMITS, ActiveRun, Room, RunLimits, journal_full
from headwater_server.workflows.engine.left_runs import LeftRuns
from headwater_server.workflows.engine.retention import remove_old_runs
from headwater_server.workflows.engine.run_calls import (
    RunView,
    StartRequest,
    check_owner,
    invalid_workflow,
    run_broken,
    run_completed,
    run_not_found,
    run_state_error,
)
from headwater_server.workflows.engine.run_log import RunLog
from headwater_server.workflows.engine.scheduler import Scheduler, prepare_resume
from headwater_server.workflows.engine.steps import StepRunner
from headwater_server.workflows.expressions.definitions import Definitions
from headwater_server.workflows.expressions.evaluator import Asker
from headwater_server.workflows.expressions.expressions import Expressions
from headwater_server.workflows.journal.base import (
    Change,
    Journal,
    JournalError,
    JournalFullError,
    RunInfo,
    RunSummary,
    StoredRun,
)
from headwater_server.workflows.journal.damage import UNREADABLE
from headwater_server.workflows.journal.event_reader import EventReader

T = TypeVar("T")

log = structlog.get_logger("headwater.workflows")


class Runs:
    """Owns every run that has not ended.

    Args:
        journal: remembers them.
        runner: executes steps.
        expressions: checks and decides conditions.
        retention_seconds: how long a run that has ended is kept.
        clock: the time in seconds since the epoch.
        limits: bounds of all runs that have not ended; no more are started beyond them.

    Attributes:
        definitions: checks definitions.
        all_resumed: see LeftRuns.
    """

    def __init__(
        self,
        journal: Journal,
        runner: StepRunner,
        expressions: Expressions,
        retention_seconds: float,
        clock: Callable[[], float] = time.time,
        limits: RunLimits = DEFAULT_LIMITS,
    ) -> None:
        self._journal = journal
        self._events = EventReader(journal)
        self._runner = runner
        self._expressions = expressions
        self.definitions = Definitions(journal, runner.handlers, expressions)
        self._retention_seconds = retention_seconds
        self._clock = clock
        self._active: dict[str, ActiveRun] = {}
        self._room = Room(limits, self._active)
        self._changing: dict[str, asyncio.Task[Any]] = {}  # work on runs, by id; see `_alone`
        self._draining = False
        self._left = LeftRuns(journal, self._alone, self._activate, clock)
        self.all_resumed = self._left.all_resumed
        self._pruning: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._active)

    async def open(self) -> None:
        """Begins to resume the runs that an earlier process left, and to remove old ones. Raises JournalError."""
        await self._left.open()
        pruning = remove_old_runs(self._journal, self._retention_seconds, self._clock)
        self._pruning = in_background(pruning, "headwater retention")

    async def start_run(self, request: StartRequest) -> str:
        """Starts a run and returns its id.

        Raises HeadwaterError: WORKFLOW_INVALID with every mistake, REQUEST_ID_REUSED, SERVER_DRAINING,
        SERVER_OVERLOADED.
        """
        if found := await self._find(request):
            return found
        workflow = request.workflow
        violations = [*request.violations, *await self.definitions.violations(workflow, request.queue)]
        if violations:
            raise invalid_workflow(violations)
        if self._draining:
            raise draining()
        with self._room.for_run(request.size):
            unknown = await self.definitions.unknown_handlers(workflow, request.queue)
            info = request.new_run(self._clock())
            state = RunState({step.name: StepState(step.name) for step in workflow.steps}, dict(request.context))
            while True:
                try:
                    await self._alone(info.run_id, lambda: self._create(info, state, unknown, request.size))
                    return info.run_id
                except JournalFullError as error:
                    raise journal_full(error) from error
                except KeyError:  # the same request came twice at once
                    if found := await self._find(request):
                        return found  # else its run is deleted already, and the id is free

    async def _create(self, info: RunInfo, state: RunState, unknown: Mapping[int, str], size: int) -> None:
        events = [RunEvent(EventType.RUN_STARTED, workflow_name=info.workflow.name)]
        for position, text in unknown.items():
            events.append(RunEvent(EventType.RUN_WARNING, step=info.workflow.steps[position].name, message=text))
        for sequence, event in enumerate(events, 1):
            event.sequence, event.create_time = sequence, info.created
        stored = [StoredEvent(event) for event in events]
        try:
            await self._journal.create(info, state, Change(events=stored, reserved=len(stored)))
        except JournalError:
            if await self._journal.load(info.run_id) is None:
                raise
        self._drive(info, state, RunLog(self._journal, info.run_id, len(stored), stored, self._clock), size)

    async def _alone(self, run_id: str, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Does some work on a run when earlier work on it has ended, and finishes it although its caller leaves.

        So a run that is stored as running is driven, and no two calls change a run at once.
        """
        while (earlier := self._changing.get(run_id)) is not None:
            await asyncio.wait([earlier])
        task = self._changing[run_id] = asyncio.create_task(work())
        task.add_done_callback(lambda _: self._changing.pop(run_id))
        return await asyncio.shield(task)

    async def _find(self, request: StartRequest) -> str:
        """The run that this very request has started before; empty for none."""
        found = await self._journal.find(request.request_id, request.owner) if request.request_id else None
        if found is None:
            return ""
        run_id, fingerprint = found
        if fingerprint != request.fingerprint:
            raise HeadwaterError(
                Reason.REQUEST_ID_REUSED,
                f"request_id was used before with another request, which started run {run_id}; take a new one",
                metadata={"run_id": run_id},
            )
        return run_id

    async def watch_run(self, run_id: str, after: int) -> AsyncGenerator[RunEvent, None]:
        """The events of a run after the one numbered `after`, to its end.

        Raises HeadwaterError: RUN_NOT_FOUND; SERVER_DRAINING when this server leaves the run.
        """
        has_ended = False
        while not has_ended:
            # It holds the log alone, and nothing more of the run: a reader that stops holds it as long as it likes.
            found = await self._log_or_status(run_id)
            if isinstance(found, RunLog):
                source = self._events.in_turns(run_id, found.watch(after))
            else:
                source = self._events.stored(run_id, after)
            async with aclosing(source) as events:
                async for event in events:
                    after, has_ended = event.sequence, event.type is EventType.RUN_FINISHED
                    yield event
            if isinstance(found, RunStatus):
                break
        if found is RunStatus.RUNNING and not has_ended:
            raise draining() if self._draining else run_broken(run_id)

    async def _log_or_status(self, run_id: str) -> RunLog | RunStatus:
        """The log of a run that is active, or the status of one that is not."""
        run = await self._look_up(run_id)
        return run.log if isinstance(run, ActiveRun) else run

    async def get_run(self, run_id: str) -> RunView:
        """A run as it is now. Raises HeadwaterError (RUN_NOT_FOUND)."""
        run = await self._look_up(run_id)
        if isinstance(run, ActiveRun):
            return RunView(run.info, run.state, run.log.sequence, 0.0)
        stored = await self._load(run_id)
        return RunView(stored.info, stored.state, stored.sequence, stored.ended)

    async def _load(self, run_id: str) -> StoredRun:
        stored = await self._journal.load(run_id)
        if stored is None:
            raise run_not_found(run_id)
        return stored

    async def _look_up(self, run_id: str) -> ActiveRun | RunStatus:
        """A run that is active, or the status of one that is not: it has ended, or this process has left it.

        Waits while it changes: it is created or resumed, or its last event is visible already.
        Raises HeadwaterError (RUN_NOT_FOUND).
        """
        await check_owner(self._journal, run_id)
        await self._left.resume(run_id)
        left = False
        while True:
            active = self._active.get(run_id)
            if active is not None and active.state.status is RunStatus.RUNNING:
                return active
            change = active.task if active is not None else self._changing.get(run_id)
            if change is not None:
                await asyncio.wait([change])
                continue
            status = await self._journal.status(run_id)
            if run_id in self._active or run_id in self._changing:
                continue
            if status is None:
                raise run_not_found(run_id)
            if left or status is not RunStatus.RUNNING:
                return status
            left = True  # unless it has run and ended while it was looked up: the second time that shows

    async def list_runs(
        self, before: int, size: int, status: RunStatus | None, workflow_name: str, since: float
    ) -> list[RunSummary]:
        """The caller's runs, newest first; see `Journal.page`."""
        return await self._journal.page(before, size, status, workflow_name, since, visible_owner())

    async def cancel_run(self, run_id: str) -> bool:
        """Ends a run and waits for its end; whether it ran. Raises HeadwaterError: RUN_NOT_FOUND, RUN_STATE."""
        run = await self._look_up(run_id)
        ran = run is RunStatus.RUNNING
        if run is RunStatus.RUNNING and not self._draining:
            run = await self._alone(run_id, lambda: self._activate(run_id, cancel=True))
        if isinstance(run, ActiveRun):
            ran = run.scheduler.cancel() or ran
            await asyncio.wait([run.task])
        # Its own state, not that of a later call that has resumed it meanwhile.
        status = run.state.status if isinstance(run, ActiveRun) else run
        if status is RunStatus.RUNNING:
            raise draining() if self._draining else run_broken(run_id)
        if status is not RunStatus.CANCELLED:
            raise run_state_error(run_id, f"the run has {status.value}, so there is nothing to cancel")
        return ran

    async def resume_run(self, run_id: str) -> int:
        """Resumes a run that failed or was cancelled, and returns the number of its latest event before that.

        Raises HeadwaterError: RUN_NOT_FOUND, RUN_STATE, SERVER_DRAINING, SERVER_OVERLOADED.
        """
        view = await self.get_run(run_id)
        if view.state.status is RunStatus.COMPLETED:
            raise run_completed(run_id)
        if run_id not in self._active:
            if self._draining:
                raise draining()
            with self._room.for_run():
                await self._alone(run_id, lambda: self._activate(run_id))
            audit("run_resumed")
        return view.sequence

    async def delete_run(self, run_id: str) -> None:
        """Removes a run that has ended. Raises HeadwaterError: RUN_NOT_FOUND, RUN_STATE."""
        await self._look_up(run_id)
        await self._alone(run_id, lambda: self._delete(run_id))

    async def _delete(self, run_id: str) -> None:
        status = await self._journal.status(run_id)
        if status is None:
            raise run_not_found(run_id)
        if run_id in self._active or status is RunStatus.RUNNING:
            raise run_state_error(run_id, "the run has not ended; cancel it first")
        await self._journal.delete(run_id)

    async def _activate(self, run_id: str, *, cancel: bool = False) -> ActiveRun:
        """Makes a run of the journal active that no task drives; with `cancel` only to end it. Only within `_alone`."""
        if (active := self._active.get(run_id)) is not None:
            if active.state.status is RunStatus.RUNNING:
                return active
            await asyncio.wait([active.task])
        stored = await self._load(run_id)
        if stored.state.status is RunStatus.COMPLETED:  # meanwhile
            raise run_completed(run_id)
        entries = await self._journal.events(run_id, 0)
        if stored.is_damaged or any(entry.is_damaged for entry in entries):
            await self._journal.fail(run_id, UNREADABLE, self._clock())
            log.error("run unreadable", run_id=run_id, cure="restore the journal from a copy, or delete the run")
            raise run_state_error(run_id, f"the run cannot continue: {UNREADABLE.message}")
        run_log = RunLog(self._journal, run_id, stored.reserved, entries, self._clock)
        try:
            await run_log.record(prepare_resume(stored.info.workflow, stored.state))
        except JournalError as error:
            if isinstance(error.__cause__, KeyError):  # so old that it was removed meanwhile
                raise run_not_found(run_id) from error
            raise
        try:
            active = self._drive(stored.info, stored.state, run_log, stored.size)
        except Exception as error:
            log.error("fault", run_id=run_id, **fault_facts(error))
            await self._fail(stored.state, run_id)
            raise run_state_error(run_id, "the run cannot continue; the server's log says why") from error
        self._left.note_active(run_id)
        if cancel:
            active.scheduler.cancel()
        return active

    def _drive(self, info: RunInfo, state: RunState, run_log: RunLog, size: int) -> ActiveRun:
        asker = Asker()
        execute = self._runner.bind(info, state, run_log, asker)
        decide = partial(self._expressions.decide, asker)
        scheduler = Scheduler(info.workflow, state, execute, run_log.record, decide, _spread)
        task = asyncio.create_task(self._run(info, scheduler), name=f"headwater run {info.run_id}")
        active = self._active[info.run_id] = ActiveRun(info, state, run_log, scheduler, task, size)
        if self._draining:
            scheduler.stop()
        return active

    async def _run(self, info: RunInfo, scheduler: Scheduler) -> None:
        run_id = info.run_id
        origin.set(info.origin)  # not that of the call that resumes it, and the same in the next process
        caller.set(Caller(info.owner))
        span = self._runner.begin_run(info)
        try:
            await scheduler.run()
        except JournalError as error:  # its watchers get an error; the journal keeps the durable state
            log.error("fault", run_id=run_id, **fault_facts(error))
        except Exception as error:  # noqa: BLE001  it would fail again in each process
            log.error("fault", run_id=run_id, **fault_facts(error))
            await self._fail(self._active[run_id].state, run_id)
        finally:
            active = self._active.pop(run_id)
            active.log.close()
            self._runner.metrics.run_ended(active.state.status, self._clock() - info.created)
            if span is not None:
                span.end(active.state.status.value, is_error=active.state.status is RunStatus.FAILED)
            log.info("run", run_id=run_id, workflow=active.info.workflow.name, status=active.state.status.value)

    async def _fail(self, state: RunState, run_id: str) -> None:
        """Ends a run that Headwater cannot drive; it can be resumed."""
        failure = Failure(Reason.INTERNAL, "Headwater failed while it drove the run; its log says why")
        try:
            await self._journal.fail(run_id, failure, self._clock())
        except JournalError as error:
            log.error("fault", run_id=run_id, **fault_facts(error))
        else:
            state.status, state.failure = RunStatus.FAILED, failure

    async def drain(self, seconds: float) -> None:
        """Starts no more steps, waits up to `seconds` for the running ones, and leaves the rest to the next process."""
        self._draining = True
        self._runner.drain()
        for active in self._active.values():
            active.scheduler.stop()
        tasks = [active.task for active in self._active.values()]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=seconds)
            for task in late:
                task.cancel()
            await asyncio.wait(tasks)

    async def close(self) -> None:
        """Leaves all runs to the next process."""
        if self._pruning is not None:
            self._pruning.cancel()
            await asyncio.wait([self._pruning])
        await self._left.close()
        if self._changing:
            await asyncio.wait(self._changing.values())
        await self.drain(0)


def _spread(seconds: float) -> float:
    """Half of a delay or more, so that steps that failed together do not all come back at once."""
    return seconds * random.uniform(0.5, 1)  # noqa: S311  no secret
