"""The log of a run against a simple model: in any order of events, nothing is lost, doubled or out of order.

Each character of an attempt's output is another number, so the text that a watcher was given can be compared with the
output, character by character. Steps start, speak, fail, start over and end; commits are held up; text is dropped, because little
is kept; watchers begin, read at will, leave and come back where they were; the process dies, with or without the commit
that was running. At the end every watcher must have, in order, all events that are durable and all text of attempts
that ended, except text that was reported as gone.
"""

from __future__ import annotations

import asyncio
import math
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater_server.domain.workflow import EventType, RunEvent, RunState, StepState, Transition
from headwater_server.eventlog import chunks as chunk_buffer
from headwater_server.eventlog import store as event_store
from headwater_server.eventlog.store import replay
from headwater_server.eventlog.stored_events import StoredEvent
from headwater_server.workflows.engine.run_log import RunLog
from headwater_server.workflows.journal import statements
from headwater_server.workflows.journal.base import Change
from headwater_server.workflows.journal.schema import migrate
from tests.support.runs.run_log import (
    BEGUN,
    RUN_ID,
    FakeJournal,
    completed,
    failed,
    resumed,
    retrying,
    run_info,
    started,
)

STEPS = "abcd"
FIRST_CHARACTER = 0x4E00

seeds = st.integers(0, 2**32)


def operations(random: Random) -> Iterator[tuple[Any, ...]]:
    """The actions, in a random order; each is a method of World with its arguments."""
    weights = {
        "chunk": 40, "chunks": 3, "start": 12, "end": 7, "hold": 4, "let": 10, "settle": 6, "watch": 4, "read": 20,
        "leave": 5, "crash": 2,
    }  # fmt: skip
    for name in random.choices(list(weights), list(weights.values()), k=random.choice([20, 100, 300])):
        step, client = random.choice(STEPS), random.randrange(6)
        arguments: dict[str, tuple[Any, ...]] = {
            "chunk": (step, random.randrange(4), random.randrange(8)),
            "chunks": (step, random.choice([20, 20, 100, 700])),
            "start": (step,),
            "end": (step, random.choice(["completed", "failed", "retrying"])),
            "let": (random.randrange(1, 6),),
            "watch": (client,),
            "read": (client, random.randrange(1, 20)),
            "leave": (client,),
            "crash": (random.random() < 0.5,),
        }
        yield name, *arguments.get(name, ())


@dataclass
class Reading:
    """The events that a client has.

    Attributes:
        read: of each attempt, up to which character it has read.
        told: how many characters after that it was told are gone.
    """

    position: int = 0
    events: list[tuple[int, EventType]] = field(default_factory=list)
    read: Counter[tuple[str, int]] = field(default_factory=Counter)
    told: Counter[tuple[str, int]] = field(default_factory=Counter)
    sequences: list[int] = field(default_factory=list)

    def take(self, event: RunEvent, exact: bool) -> None:
        self.sequences.append(event.sequence)
        self.position = event.sequence
        if event.type is not EventType.STEP_CHUNK:
            self.events.append((event.sequence, event.type))
            return
        key = event.step, event.attempt
        text = [ord(character) - FIRST_CHARACTER for character in event.thinking + event.content]
        assert text or event.omitted
        assert all(right == left + 1 for left, right in pairwise(text)), "lost, doubled or out of order"
        self.told[key] += event.omitted
        if text:
            self.check(key, text[0], exact)
            self.read[key], self.told[key] = text[-1] + 1, 0

    def take_any(self, event: RunEvent) -> None:
        """Takes an event of one that begins in the middle: of attempts it notes the last character alone."""
        self.sequences.append(event.sequence)
        if event.type is not EventType.STEP_CHUNK:
            self.events.append((event.sequence, event.type))
        elif text := event.thinking + event.content:
            self.read[event.step, event.attempt] = ord(text[-1]) - FIRST_CHARACTER + 1

    def check(self, key: tuple[str, int], end: int, exact: bool) -> None:
        """Its text of an attempt is complete up to a character, unless a gap was reported."""
        gap = end - self.read[key]
        assert gap >= 0, "doubled"
        if exact:
            assert gap == self.told[key]
        elif gap:
            assert self.told[key], "lost in silence"


class Client:
    """Reads a log in a separate task, as many events as it is allowed."""

    def __init__(self, reading: Reading, log: RunLog, journal: FakeJournal, exact: bool) -> None:
        self.reading = reading
        self.journal = journal
        self.allowed = asyncio.Semaphore(0)
        self.task = asyncio.create_task(self.read(log, exact))

    async def read(self, log: RunLog, exact: bool) -> None:
        async for event in log.watch(self.reading.position):
            assert event.sequence <= self.journal.reserved
            await self.allowed.acquire()
            self.reading.take(event, exact)


class World:
    """A run, its journal, its clients, and what was said."""

    def __init__(self, most: float, exact: bool) -> None:
        self.most = most
        self.exact = exact
        self.journal = FakeJournal()
        self.log = RunLog(self.journal, RUN_ID, 1, [BEGUN], lambda: 1.0, most)
        self.clients: list[Client] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.attempts = dict.fromkeys(STEPS, 0)
        self.running: set[str] = set()
        self.said: Counter[tuple[str, int]] = Counter()
        self.recorded = 0

    async def do(self, operation: tuple[Any, ...]) -> None:
        await getattr(self, operation[0])(*operation[1:])

    async def record(self, transition: Transition) -> None:
        self.tasks.append(asyncio.create_task(self.log.record([transition])))
        await asyncio.sleep(0)

    async def start(self, step: str) -> None:
        if step not in self.running:
            self.running.add(step)
            self.attempts[step] += 1
            await self.record(started(step, self.attempts[step]))

    async def chunk(self, step: str, thinking: int, content: int) -> None:
        if step in self.running and thinking + content:
            key = step, self.attempts[step]
            first = FIRST_CHARACTER + self.said[key]
            text = "".join(map(chr, range(first, first + thinking + content)))
            self.said[key] += thinking + content
            self.tasks.append(asyncio.create_task(self.log.add_chunk(*key, text[thinking:], text[:thinking])))
            await asyncio.sleep(0)

    async def chunks(self, step: str, count: int) -> None:
        for _ in range(count):
            await self.chunk(step, 0, 1)

    async def end(self, step: str, how: str) -> None:
        if step in self.running:
            self.running.discard(step)
            transition = {"completed": completed, "failed": failed, "retrying": retrying}[how]
            await self.record(transition(step, self.attempts[step]))

    async def hold(self) -> None:
        self.journal.gate.clear()

    async def let(self, count: int) -> None:
        for _ in range(count):
            await asyncio.sleep(0)

    async def settle(self) -> None:
        self.journal.gate.set()
        await asyncio.gather(*self.tasks)
        self.tasks.clear()

    async def watch(self, which: int) -> None:
        """A client that knows nothing, or where another one was."""
        known = [client.reading for client in self.clients]
        reading = deepcopy(known[which]) if which < len(known) else Reading()
        self.clients.append(Client(reading, self.log, self.journal, self.exact))

    async def read(self, which: int, count: int) -> None:
        if which < len(self.clients):
            for _ in range(count):
                self.clients[which].allowed.release()
            await self.let(count)

    async def leave(self, which: int) -> None:
        """A client loses its connection and comes back."""
        if which < len(self.clients):
            reading = self.clients[which].reading
            await stop(self.clients[which].task)
            self.clients[which] = Client(reading, self.log, self.journal, self.exact)

    async def crash(self, kept: bool) -> None:
        if kept and self.journal.waiting is not None:
            self.journal.keep()
        await stop(*self.tasks, *([self.log._committing] if self.log._committing else []))
        self.tasks.clear()
        self.running.clear()
        for client in self.clients:
            await stop(client.task)
        assert all(client.reading.position <= self.journal.reserved for client in self.clients)
        self.journal.waiting = None
        self.journal.gate.set()
        self.log = RunLog(self.journal, RUN_ID, self.journal.reserved, self.journal.stored(), lambda: 1.0, self.most)
        await self.log.record([resumed()])
        self.clients = [Client(client.reading, self.log, self.journal, self.exact) for client in self.clients]

    async def finish(self) -> list[Reading]:
        """The events of all clients in the end, and of one that begins again."""
        await self.settle()
        self.clients.append(Client(Reading(), self.log, self.journal, self.exact))
        await asyncio.sleep(0)
        self.log.close()
        for client in self.clients:
            client.allowed._value = 1_000_000
            client.allowed.release()
        await asyncio.gather(*(client.task for client in self.clients))
        return [client.reading for client in self.clients]


def check_pages(stored: Sequence[StoredEvent], latest: Mapping[str, int], after: int, exact: bool) -> None:
    """The pages of the journal have what a replay of the whole run has, from the first event and from another one."""
    info = run_info(steps=STEPS)
    state = RunState({step: StepState(step, attempt=latest.get(step, 0)) for step in STEPS})
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        migrate(connection, Path())
        change = statements.ChangeRows.of(RUN_ID, Change(events=stored))
        statements.create(connection, statements.RunRows.of(info, state), change, 2**30)
        for start in (0, after):
            whole, pages = Reading(start), Reading(start)
            for event in replay(stored, start):
                whole.take_any(event)
            is_last = False
            position = start
            while not is_last:
                page = statements.event_page(connection, RUN_ID, position)
                assert page.is_last or page.position > position
                for event in page.events:
                    pages.take(event, exact) if start == 0 else pages.take_any(event)
                position, is_last = page.position, page.is_last
            assert pages.events == whole.events
            assert pages.read == whole.read
            assert all(left < right for left, right in pairwise(pages.sequences))


async def stop(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        assert outcome is None or isinstance(outcome, asyncio.CancelledError), outcome


async def run(seed: int, most: float, exact: bool) -> None:
    world, random = World(most, exact), Random(seed)  # noqa: S311
    for operation in operations(random):
        await world.do(operation)
    readings = await world.finish()

    stored = world.journal.stored()
    durable = [(s.event.sequence, s.event.type) for s in stored if s.event.type is not EventType.STEP_CHUNK]
    ended = {(s.event.step, s.event.attempt) for s in stored if s.event.type in {
        EventType.STEP_COMPLETED, EventType.STEP_FAILED}}  # fmt: skip
    latest = {s.event.step: s.event.attempt for s in stored if s.event.type is EventType.STEP_STARTED}
    for reading in readings:
        assert reading.events == durable
        assert all(left < right for left, right in pairwise(reading.sequences))
        for key in ended:
            if latest[key[0]] == key[1]:
                reading.check(key, world.said[key], exact)

    fresh = Reading()
    for event in replay(stored, 0):
        fresh.take(event, exact)
    assert fresh.events == durable
    check_pages(stored, latest, random.randrange(world.journal.reserved), exact)
    merged = [s for s in stored if s.event.type is EventType.STEP_CHUNK]
    for entry in merged:
        text = entry.event
        assert len(text.content) + len(text.thinking) + text.omitted == world.said[text.step, text.attempt]
        assert entry.marks[-1].content + entry.marks[-1].thinking == world.said[text.step, text.attempt]
    if most == math.inf:
        assert {(s.event.step, s.event.attempt) for s in merged} == {key for key in ended if world.said[key]}


@given(seeds)
@settings(max_examples=100)
def test_a_log_that_keeps_all_text(seed: int) -> None:
    asyncio.run(run(seed, math.inf, exact=True))


@given(seeds)
@settings(max_examples=100)
def test_a_log_that_keeps_little_text(seed: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(event_store, "_DROP_AT_ONCE", 150)
        patch.setattr(statements, "PAGE_CHARACTERS", 300)
        asyncio.run(run(seed, 3000, exact=True))


@given(seeds)
@settings(max_examples=100)
def test_a_log_that_keeps_little_of_anything(seed: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(event_store, "_DROP_AT_ONCE", 150)
        patch.setattr(event_store, "_COMPACT_FROM", 8)
        patch.setattr(chunk_buffer, "MAX_DROPPED_MARKS", 8)
        patch.setattr(statements, "PAGE_CHARACTERS", 300)
        asyncio.run(run(seed, 3000, exact=False))
