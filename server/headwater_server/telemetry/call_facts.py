"""The facts that each line has which a call, or an attempt of a step, writes into the log.

They stand in one dictionary, which the tasks of the call share: to add a fact is to set a key.
"""

from __future__ import annotations

from contextvars import ContextVar

from structlog.typing import EventDict

_facts: ContextVar[EventDict | None] = ContextVar("call facts", default=None)


def begin_facts(**facts: object) -> EventDict:
    """Forgets the facts of this task and begins with these; returns them, with those that will be added."""
    _facts.set(facts)
    return facts


def part_facts(**facts: object) -> None:
    """Parts this task's facts from those of the task that began it, and adds some."""
    _facts.set({**(_facts.get() or {}), **facts})


def add_facts(**facts: object) -> None:
    """Adds facts to those of this task, if it has begun any; later ones replace earlier ones."""
    known = _facts.get()
    if known is None:
        _facts.set(facts)
    else:
        known.update(facts)


def call_facts() -> EventDict:
    """The facts of this task."""
    return _facts.get() or {}


def merge_facts(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Adds the facts of this task to a line: a processor of structlog."""
    known = _facts.get()
    return {**known, **event} if known else event
