"""Tasks and workers as the pool keeps them: plain data and its simple consequences."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from headwater_server.domain.messages import AgentConfig
from headwater_server.domain.workflow import Outcome, Step

OnWaiting: TypeAlias = Callable[[str], Awaitable[None]]
"""Is called with the queue's name when no worker is free."""

OnStarted: TypeAlias = Callable[[], Awaitable[None]]
"""Is called when a worker has taken a task that had to wait, before the worker gets it."""

OnWarning: TypeAlias = Callable[[str], Awaitable[None]]
"""Gets a warning about the attempt, for people."""

OnChunk: TypeAlias = Callable[[str, str], Awaitable[None]]
"""Gets content and thinking as they come."""

OnProgress: TypeAlias = Callable[[str], None]
"""Gets how far an attempt is, as JSON text."""


@dataclass(frozen=True, slots=True)
class Reports:
    """The functions that get what an attempt says while it runs."""

    chunk: OnChunk
    warning: OnWarning
    progress: OnProgress


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """An attempt of a step, for a worker that has `step.handler`.

    Attributes:
        context: the run's context as it is at the start of the attempt.
        dependencies: the results of the steps that this one depends on, by name.
        agent: the workflow's agent.
        progress: JSON text that an earlier attempt reported last; empty for none.
        origin: the headers of the call that started the run, or of the attempt's span, as in `domain.call_origin`.
    """

    run_id: str
    workflow_name: str
    step: Step
    attempt: int
    context: Mapping[str, str] = field(default_factory=dict)
    dependencies: Mapping[str, str] = field(default_factory=dict)
    agent: AgentConfig = field(default_factory=AgentConfig)
    progress: str = ""
    origin: Mapping[str, str] = field(default_factory=dict)

    @property
    def task_id(self) -> str:
        """Id of the task of this attempt. The next process of the server finds it again, and no other can guess it."""
        return hashlib.sha256(f"{self.run_id}/{self.attempt}/{self.step.name}".encode()).hexdigest()[:32]

    @property
    def idempotency_key(self) -> str:
        """Equal in all attempts of this step of this run, and different for every other step of any run."""
        name = hashlib.sha256(self.step.name.encode()).hexdigest()[:32]  # short and ASCII, so that it fits a header
        return f"{self.run_id}/{name}"


@dataclass(frozen=True, slots=True)
class Assign:
    """A task for the worker."""

    task_id: str
    task: TaskSpec


@dataclass(frozen=True, slots=True)
class HandedBack:
    """A task that its worker gives back. `begun`: its handler was called. `reason`: for people; may be empty."""

    begun: bool
    reason: str = ""


class NotBegunError(Exception):
    """A worker has handed a task back without having begun it."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """A task that is no longer wanted."""

    task_id: str


ToWorker: TypeAlias = Assign | Cancel
Send: TypeAlias = Callable[[ToWorker], None]


class Attempt:
    """A task from `WorkerPool.run_task` until it has an outcome or is given up.

    Attributes:
        number: rises with each task: the order of the lines.
        reports: get what it says.
        worker: the worker that has it.
        held_back: the journal says that it waits, so its worker does not get it yet.
        was_sent: its worker may have got it.
        spoke: whether it has had output.
        said: characters of its output that have arrived, as its worker counts them.
        progress: the last that arrived.
        waits: it waits for another run, and takes no place of its worker.
        waited_for: the runs that it has waited for, of each of which the run was warned.
        assigned: is done when a worker has it.
    """

    __slots__ = (
        "assigned",
        "held_back",
        "id",
        "number",
        "outcome",
        "progress",
        "queue",
        "reports",
        "said",
        "spoke",
        "task",
        "waited_for",
        "waits",
        "was_sent",
        "worker",
    )

    def __init__(self, number: int, task: TaskSpec, queue: str, reports: Reports) -> None:
        loop = asyncio.get_running_loop()
        self.id = task.task_id
        self.number = number
        self.task = task
        self.queue = queue
        self.reports = reports
        self.waits = False
        self.waited_for: set[str] = set()
        self.worker: Worker | None = None
        self.held_back = False
        self.was_sent = False
        self.spoke = False
        self.said = 0
        self.progress = ""
        self.assigned: asyncio.Future[None] = loop.create_future()
        self.outcome: asyncio.Future[Outcome] = loop.create_future()

    @property
    def handler(self) -> str:
        """Name of the handler that it needs."""
        return self.task.step.handler

    def send(self) -> None:
        """Gives it to its worker, unless that must wait: for the journal, or until the worker is connected again."""
        worker = self.worker
        if worker is None or worker.link is None or self.held_back or self.id not in worker.tasks:
            return
        self.was_sent = True
        worker.send(Assign(self.id, self.task))

    def end(self, outcome: Outcome | Exception) -> None:
        """Ends it; only the first outcome counts."""
        if self.outcome.done():
            return
        if isinstance(outcome, Exception):
            self.outcome.set_exception(outcome)
            self.outcome.exception()  # marks it as read: the task that waited for it may be gone
        else:
            self.outcome.set_result(outcome)


@dataclass(eq=False, slots=True)
class Link:
    """One connection of a worker. `replaced` is set when another one takes its place."""

    send: Send
    replaced: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(eq=False, slots=True)
class Worker:
    """A worker, over its reconnects.

    Attributes:
        link: None while it is not connected.
        names_size: characters of the names of its handlers.
        tasks: its tasks, by id.
        silent: ticks since it was heard.
        dead: nothing was heard of it for too long.
        held_up: messages of it that the server itself is busy with; meanwhile its silence does not count.
        served: rises with each task that any worker gets.
    """

    id: str
    queue: str = ""
    handlers: frozenset[str] = frozenset()
    names_size: int = 0
    concurrency: int = 1
    link: Link | None = None
    tasks: dict[str, Attempt] = field(default_factory=dict)
    silent: int = 0
    dead: bool = False
    held_up: int = 0
    served: int = 0

    @property
    def has_room(self) -> bool:
        """Whether it can take a task now."""
        return self.is_able and self.places_taken < self.concurrency

    @property
    def is_able(self) -> bool:
        """Whether it can take tasks at all: it is connected, and was heard."""
        return self.link is not None and not self.dead

    @property
    def places_taken(self) -> int:
        """How many of its places are taken: a task that waits for another run takes none."""
        if len(self.tasks) < self.concurrency:
            return len(self.tasks)
        return sum(not attempt.waits for attempt in self.tasks.values())

    def works_for(self, run_id: str) -> bool:
        """Whether a task of this run takes one of its places."""
        return any(attempt.task.run_id == run_id and not attempt.waits for attempt in self.tasks.values())

    @property
    def load(self) -> tuple[float, int]:
        """A key to sort by: the least loaded worker first, then the one that has waited longest for a task."""
        return len(self.tasks) / self.concurrency, self.served

    def send(self, message: ToWorker) -> None:
        """Sends something, if it is connected."""
        if self.link is not None:
            self.link.send(message)
