"""The log of a run: numbers each event, makes it durable, and shows it to watchers.

Theory of operation. Each event gets its number at once, so the order of numbers is the order in which the events
happened. Watchers see the `visible` events: those before the first one that is not durable yet, and no number beyond
those that the journal has reserved. A new process continues after the reserved numbers, so a number is never used
twice, though most chunks are never written one by one.

Records that come while a commit runs wait for it, and are committed together. A task of the log makes the commits. So a
caller that is cancelled while it waits changes nothing: its record still becomes durable and visible. A commit that
fails is tried again, with growing delays, until the journal takes it or the log is closed; the journal knows a change
that it has already. Meanwhile the run stands still. When trying again cannot help, the log is broken: events that were
not durable are never shown, and the caller of `record` gets the error. The run can be resumed from the journal.

Watchers do not wait in queues. Each is a cursor on the one store, reads the events after it, and waits for news only
when it has all. No watcher can hold up the run. Nor can one that has stopped reading keep the store of a run that has
ended: those that have not read all in a few seconds find the rest in the journal.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field, replace

from headwater_server.domain.workflow import (
    ENDED_STEP,
    Context,
    EventType,
    RunEvent,
    RunStatus,
    StepState,
    Transition,
)
from headwater_server.eventlog.chunks import MAX_EVENT_CHARACTERS
from headwater_server.eventlog.store import MAX_CHARACTERS, Cursor, EventStore
from headwater_server.eventlog.stored_events import StoredEvent
from headwater_server.telemetry.background import in_background
from headwater_server.workflows.engine.commits import commit_patiently
from headwater_server.workflows.engine.failures import log_failure
from headwater_server.workflows.journal.base import Change, Journal, JournalError, RunChange

RESERVE = 1000
RESERVE_BELOW = 500

RELEASE_SECONDS = 5.0
"""How long the store is kept for its watchers after the end."""

_ENDS_ATTEMPT = frozenset({EventType.STEP_COMPLETED, EventType.STEP_FAILED, EventType.STEP_CANCELLED})


@dataclass(slots=True)
class _Batch:
    """The changes that the next commit makes durable.

    Attributes:
        first: its first number; 0 while it has no event.
        void: steps, and the attempt before which their chunks are void once it is durable.
    """

    first: int = 0
    steps: dict[str, StepState] = field(default_factory=dict)
    context: Context = field(default_factory=dict)
    deleted: dict[str, None] = field(default_factory=dict)
    events: list[StoredEvent] = field(default_factory=list)
    void: list[tuple[str, int]] = field(default_factory=list)
    status: RunChange | None = None
    progress: dict[str, str] = field(default_factory=dict)


class RunLog:
    """The log of one run; see the module's theory of operation. Belongs to one event loop.

    Args:
        journal: makes it durable.
        run_id: of a run that the journal has.
        reserved: the highest number that may have been used.
        entries: the run's stored events.
        clock: the time in seconds since the epoch.
        max_characters: bound of the text of all chunks that are kept.
    """

    def __init__(
        self,
        journal: Journal,
        run_id: str,
        reserved: int,
        entries: Sequence[StoredEvent] = (),
        clock: Callable[[], float] = time.time,
        max_characters: float = MAX_CHARACTERS,
    ) -> None:
        self._journal = journal
        self._run_id = run_id
        self._clock = clock
        self._store = EventStore(entries, max_characters)
        self._used = reserved  # the last number given
        self._reserved = reserved  # durable
        self._promised = reserved  # durable when the running commit is
        self._visible = reserved
        self._attempts: dict[str, int] = {}  # the running attempt of each step
        self._batch = _Batch()
        self._committing: asyncio.Task[None] | None = None
        self._uncommitted = 0  # number of the first event of the running commit; 0 for none
        self._settled = reserved  # events up to it are durable
        self._fault: Exception | None = None
        self._closed = False
        self._watchers = 0
        self._released = False
        self._releasing: asyncio.TimerHandle | None = None
        self._closing = asyncio.Event()
        self._commits: set[asyncio.Future[None]] = set()  # callers that wait for a commit
        self._news: set[asyncio.Future[None]] = set()  # watchers that have all

    @property
    def sequence(self) -> int:
        """The last number that watchers may have seen; after a restart, the last that may have been used before."""
        return self._visible

    async def record(self, transitions: Sequence[Transition]) -> None:
        """Makes transitions durable, all or none, then shows their events.

        Fills in numbers and times: of events `sequence` and `create_time`, of steps `started` and `ended`. Raises
        JournalError when they could not be made durable, or an earlier record could not.
        """
        self._check()
        if self._closed:
            raise RuntimeError("the log is closed")
        if not transitions:
            return
        now = self._clock()
        for transition in transitions:
            log_failure(self._run_id, transition.event)
            self._add(transition, now)
        number = self._used
        self._commit()
        while self._settled < number:
            await _wait(self._commits)
            self._check()

    async def add_chunk(self, step: str, attempt: int, content: str, thinking: str) -> None:
        """Adds a piece of the output of a running attempt; one of any other attempt is void, and is ignored.

        Waits only when the reserved numbers are used up. Raises JournalError when no more could be reserved.
        """
        if self._closed or self._attempts.get(step) != attempt:
            return
        self._check()
        now = self._clock()
        for text in _cut(thinking):
            self._used += 1
            self._store.add_chunk(step, attempt, self._used, now, "", text)
        for text in _cut(content):
            self._used += 1
            self._store.add_chunk(step, attempt, self._used, now, text, "")
        number = self._used
        if self._promised - number < RESERVE_BELOW:
            self._commit()
        self._show()
        while self._reserved < number:
            await _wait(self._commits)
            self._check()

    def add_progress(self, step: str, attempt: int, progress: str) -> None:
        """Notes how far a running attempt is; that of any other attempt is void, and is ignored.

        Watchers see it at once. The journal keeps the last of each step, but no event of it, so that it does not grow.
        """
        if self._closed or self._fault is not None or self._attempts.get(step) != attempt:
            return
        self._used += 1
        event = RunEvent(EventType.STEP_PROGRESS, step=step, attempt=attempt, result=progress)
        event.sequence, event.create_time = self._used, self._clock()
        self._store.add_progress(event)
        self._batch.progress[step] = progress
        self._commit()
        self._show()

    async def watch(self, after: int) -> AsyncGenerator[RunEvent, None]:
        """The events numbered above `after`, as they come, until the log is closed. They are shared: change none.

        Chunks of one attempt that wait, with nothing else between them, come as one event. A reader that is slow at the
        end of the run gets no more than the first of them; the journal has the others.
        """
        cursor = Cursor(after)
        self._watchers += 1
        try:
            while not self._released:
                event = self._store.read(cursor, self._visible)
                if event is not None:
                    yield event
                elif self._closed and self._committing is None:
                    return
                else:
                    await _wait(self._news)
        finally:
            self._watchers -= 1
            if not self._watchers and self._releasing is not None:
                self._releasing.cancel()

    def close(self) -> None:
        """The run has ended, or this process leaves it. Watchers end when they have all, also of a running commit."""
        self._closed = True
        self._closing.set()
        _wake(self._news)
        if self._watchers:
            self._releasing = asyncio.get_running_loop().call_later(RELEASE_SECONDS, self._release)

    def _release(self) -> None:
        self._released = True
        self._store = EventStore()

    def _check(self) -> None:
        if self._fault is not None:
            raise JournalError(f"the run's log is broken: {self._fault}") from self._fault

    def _add(self, transition: Transition, now: float) -> None:
        """Numbers a transition and puts it into the next commit."""
        event, batch = transition.event, self._batch
        if event.type in _ENDS_ATTEMPT and (attempt := self._attempts.pop(event.step, 0)):
            merged = self._store.finish(event.step, attempt)
            if merged is not None:
                batch.events.append(merged)
        elif event.type is EventType.STEP_RETRYING:
            self._attempts.pop(event.step, None)
            batch.void.append((event.step, event.attempt + 1))
        elif event.type is EventType.STEP_STARTED:
            self._attempts[event.step] = event.attempt
            batch.void.append((event.step, event.attempt))
        elif event.type is EventType.RUN_RESUMED:
            batch.status = RunChange(RunStatus.RUNNING)
        elif event.run_status is not None:
            batch.status = RunChange(event.run_status, event.failure, event.failed_steps, now)
        self._used += 1
        event.sequence, event.create_time = self._used, now
        self._store.add_event(event)
        batch.events.append(StoredEvent(event))
        batch.first = batch.first or self._used
        if transition.step is not None:
            batch.steps[transition.step.name] = _timed(transition.step, event.type, now)
        for step in transition.also:
            batch.steps[step.name] = replace(step)
        for key in transition.deleted:
            batch.context.pop(key, None)
            batch.deleted[key] = None
        batch.context.update(transition.context)

    def _commit(self) -> None:
        """Starts to commit the waiting records, unless that has started already."""
        if self._committing is None:
            self._committing = in_background(self._run_commits(), f"headwater log {self._run_id}", self._break)

    def _break(self, error: BaseException) -> None:
        self._fault = self._fault or JournalError(f"its writer failed: {error!r}")
        _wake(self._commits)
        _wake(self._news)

    async def _run_commits(self) -> None:
        try:
            while self._fault is None and self._has_changes():
                await self._commit_batch()
        finally:
            self._committing = None
            _wake(self._news)

    def _has_changes(self) -> bool:
        batch = self._batch
        return bool(batch.first or batch.progress) or self._promised - self._used < RESERVE_BELOW

    async def _commit_batch(self) -> None:
        batch, self._batch = self._batch, _Batch()
        last, before = self._used, self._promised
        if before - last < RESERVE_BELOW:
            self._promised = last + RESERVE
        change = Change(
            steps=list(batch.steps.values()),
            context=batch.context,
            deleted=list(batch.deleted),
            events=batch.events,
            reserved=self._promised if self._promised > before else 0,
            status=batch.status,
            progress=batch.progress,
        )
        self._uncommitted = batch.first
        try:
            await commit_patiently(self._journal, self._run_id, change, self._closing)
        except asyncio.CancelledError:
            self._fault = JournalError("a write was given up")
            raise
        except Exception as error:  # noqa: BLE001  every waiting caller gets it
            self._fault = error
        else:
            self._uncommitted = 0
            self._settled, self._reserved = last, self._promised
            for step, attempt in batch.void:
                self._store.discard(step, attempt)
            self._show()
        finally:
            _wake(self._commits)

    def _show(self) -> None:
        """Shows the watchers the events that have become visible."""
        first = self._uncommitted or self._batch.first
        visible = min(self._used, self._reserved, first - 1 if first else self._used)
        if visible > self._visible:
            self._visible = visible
            _wake(self._news)


def _timed(step: StepState, event: EventType, now: float) -> StepState:
    """Fills in the times of a step; a copy of it as it is now."""
    if event is EventType.STEP_STARTED:
        step.started = now
    step.ended = (step.ended or now) if step.status in ENDED_STEP else 0.0
    return replace(step)


def _cut(text: str) -> list[str]:
    if len(text) <= MAX_EVENT_CHARACTERS:
        return [text] if text else []
    return [text[start : start + MAX_EVENT_CHARACTERS] for start in range(0, len(text), MAX_EVENT_CHARACTERS)]


async def _wait(waiters: set[asyncio.Future[None]]) -> None:
    waiter = asyncio.get_running_loop().create_future()
    waiters.add(waiter)
    try:
        await waiter
    finally:
        waiters.discard(waiter)


def _wake(waiters: set[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)
    waiters.clear()
