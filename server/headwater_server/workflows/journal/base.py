"""The protocol of a journal of runs. The embedded one is `sqlite`."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from headwater_server.domain.chunks import Usage
from headwater_server.domain.failure import Failure
from headwater_server.domain.workflow import RunEvent, RunState, RunStatus, StepState, Workflow
from headwater_server.eventlog.stored_events import StoredEvent

LARGE_CHARACTERS = 32 * 1024
"""An event with a longer result is large: watchers take turns at it."""


class JournalError(Exception):
    """The journal cannot be opened, read or written; the message is one line with the cure."""


class JournalFullError(Exception):
    """The journal has its full size, so it takes no more runs. Those that it has can continue."""


class JournalFolderError(JournalError):
    """The folder that the settings name cannot have the journal."""


class JournalDamagedError(JournalError):
    """The content of the journal is damaged: trying again does not help."""


class JournalLockedError(JournalError):
    """Another process has the journal."""


@dataclass(frozen=True, slots=True)
class RunInfo:
    """The facts of a run that never change.

    Attributes:
        run_id: its id.
        workflow: the definition it began with.
        queue: the queue of its handlers; may be empty.
        request_id: the caller's id of the request that started it; may be empty.
        fingerprint: of that request; it differs when the same id came with another body.
        created: when it was accepted, in seconds since the epoch.
        origin: the headers of the call that started it, as in `domain.call_origin`.
        owner: name of the caller that started it, as in `callers.caller`.
    """

    run_id: str
    workflow: Workflow
    queue: str
    request_id: str
    fingerprint: str
    created: float
    origin: Mapping[str, str] = field(default_factory=dict)
    owner: str = ""


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run in a list. `position` rises with each new run; `ended` is 0.0 and `usage` None while it runs."""

    position: int
    run_id: str
    workflow_name: str
    queue: str
    status: RunStatus
    failure: Failure | None
    failed_steps: tuple[str, ...]
    created: float
    ended: float
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class RunChange:
    """A run's new status, and what goes with it.

    Attributes:
        failure: as `RunState.failure`.
        failed_steps: as `RunState.failed_steps`.
        ended: in seconds since the epoch; 0.0 while it runs.
    """

    status: RunStatus
    failure: Failure | None = None
    failed_steps: tuple[str, ...] = ()
    ended: float = 0.0


@dataclass(frozen=True, slots=True)
class Change:
    """The changes of a run in one commit. All of them are kept or none is.

    Attributes:
        steps: steps as they are now.
        context: keys of the context that were set.
        deleted: keys that were deleted before that; one that is in both moves to the context's end.
        events: events, with their numbers.
        reserved: the highest number of an event that may be used before the next reservation; 0: as before.
        status: the run's new status; None: as before.
        progress: of steps, as `RunState.progress`; those that are not among them stay as they were.
    """

    steps: Sequence[StepState] = ()
    context: Mapping[str, str] = field(default_factory=dict)
    deleted: Sequence[str] = ()
    events: Sequence[StoredEvent] = ()
    reserved: int = 0
    status: RunChange | None = None
    progress: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run as the journal has it.

    Attributes:
        reserved: numbers of events up to it may have been used.
        sequence: number of its latest stored event.
        ended: in seconds since the epoch; 0.0 while it runs.
        size: characters of its definition, context and results.
        is_damaged: its rows cannot be read: it has failed, and shows no more than its name and its times.
    """

    info: RunInfo
    state: RunState
    reserved: int
    sequence: int
    ended: float
    size: int = 0
    is_damaged: bool = False


@dataclass(frozen=True, slots=True)
class EventPage:
    """Some events of a run, as a watcher gets them.

    Attributes:
        events: the events, in order; the reader may take them out.
        position: the number after which the next page begins.
        is_last: no page follows.
        is_large: it has no event because the next one is large, and was not asked for.
    """

    events: deque[RunEvent]
    position: int
    is_last: bool
    is_large: bool = False


class Journal(Protocol):
    """Remembers runs. When a method returns, its write survives a crash of the process and of the machine.

    Every method raises JournalError when the journal cannot be read or written; the write may have been kept or not. A
    caller that is cancelled while it waits does not stop the write.

    Attributes:
        is_writable: whether the last write succeeded. While it is not, the journal tries by itself, every few seconds.
        changed: is set when `is_writable` has changed.
    """

    is_writable: bool
    changed: asyncio.Event

    async def create(self, info: RunInfo, state: RunState, change: Change) -> None:
        """Adds a run with its first events.

        Raises KeyError when its owner has used its `request_id`, JournalFullError when there is no room for more runs.
        """
        ...

    async def commit(self, run_id: str, change: Change) -> None:
        """Adds to a run. Commits of several runs may share one write. Raises KeyError when there is no such run.

        A change that the journal has already, by the number of its first event, changes nothing: a commit whose end is
        unknown may be tried again.
        """
        ...

    async def status(self, run_id: str) -> RunStatus | None:
        """The status of a run; None when there is none."""
        ...

    async def load(self, run_id: str) -> StoredRun | None:
        """A run; None when there is none."""
        ...

    async def owner(self, run_id: str) -> str | None:
        """The name of the caller that a run belongs to; None when there is no such run."""
        ...

    async def find(self, request_id: str, owner: str) -> tuple[str, str] | None:
        """The id and the fingerprint of the run that a request of this caller started."""
        ...

    async def events(self, run_id: str, after: int) -> list[StoredEvent]:
        """The stored events of a run with a number above `after`, in order."""
        ...

    async def event_page(self, run_id: str, after: int, *, large: bool = False) -> EventPage:
        """The next events of a run that has ended with a number above `after`: as few as are worth a read.

        It may have none although others follow. `large`: also one whose result has more than LARGE_CHARACTERS.
        """
        ...

    async def unfinished(self) -> list[str]:
        """Ids of the runs that have not ended, oldest first."""
        ...

    async def page(
        self, before: int, size: int, status: RunStatus | None, workflow_name: str, since: float, owner: str | None
    ) -> list[RunSummary]:
        """Runs, newest first: those with a position below `before` (0: all) that match, at most `size`.

        `owner`: name of the caller that they belong to; None: of any.
        """
        ...

    async def remember_handlers(self, queue: str, names: Iterable[str]) -> None:
        """Notes that a worker of the queue has registered these names. When there are too many, the oldest go."""
        ...

    async def handlers(self, queue: str) -> frozenset[str]:
        """Every name that was registered on the queue, unless it was so long ago that it was removed."""
        ...

    async def prune(self, ended_before: float) -> int:
        """Removes runs that ended before that moment, and returns their number.

        Removes names of handlers too, when no worker has registered them since and no run is on their queue.
        """
        ...

    async def fail(self, run_id: str, failure: Failure, ended: float) -> None:
        """Ends a run that cannot continue, with the steps that have not ended and its last event.

        It reads nothing of the run, whose rows may be unreadable. A run that has ended stays as it is.
        """
        ...

    async def delete(self, run_id: str) -> None:
        """Removes a run with its steps and events; one that is not there is removed already."""
        ...

    async def close(self) -> None:
        """Waits for the running writes, and frees the journal for another owner."""
        ...
