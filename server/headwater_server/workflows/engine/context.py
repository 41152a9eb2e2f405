"""The context that the steps of a run share: merging what they changed, and keeping it within its limit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from headwater_server.domain.failure import StepError, final_step_error
from headwater_server.domain.workflow import Context, Outcome, Step

MAX_CONTEXT_BYTES = 1_048_576
"""Most bytes of UTF-8 that a context may have, keys and values together."""
MAX_RESULTS_BYTES = 1_048_576
"""Most bytes of UTF-8 that the results of all steps of a run may have together."""


def utf8_size(text: str) -> int:
    """Bytes that a text takes as UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


@dataclass(frozen=True, slots=True)
class Conflict:
    """A key that two steps changed while both ran; the later one won. `other` is the earlier one's name."""

    key: str
    other: str


@dataclass(frozen=True, slots=True)
class Merge:
    """The effect of a step's outcome on the context: keys that it sets and deletes, and the changes it overwrites."""

    changes: Mapping[str, str]
    deleted: tuple[str, ...]
    conflicts: tuple[Conflict, ...]


NOTHING = Merge({}, (), ())


class SharedContext:
    """A run's context as its steps see it. Outcomes are merged in the order in which steps complete.

    Each merge has a number. A step remembers the number of the last merge that it saw when it began; a key that has a
    later one was changed while it ran.

    Args:
        values: the values at the beginning; copied.
        results_size: how many bytes the results of completed steps have already.
    """

    def __init__(self, values: Mapping[str, str], results_size: int) -> None:
        self._values: Context = dict(values)
        self._size = sum(utf8_size(key) + utf8_size(text) for key, text in values.items())
        self._results_size = results_size
        self._merges = 0
        self._changed: dict[str, tuple[int, str]] = {}  # key -> number of the merge that changed it last, and its step
        self._snapshot: Context | None = None

    def snapshot(self) -> tuple[int, Mapping[str, str]]:
        """The number of the last merge, and the values after it. The mapping never changes."""
        if self._snapshot is None:
            self._snapshot = dict(self._values)
        return self._merges, self._snapshot

    def merge(self, step: Step, outcome: Outcome, seen: int) -> Merge:
        """Adds the outcome of a step that has seen the merges up to number `seen`.

        Raises StepError (final), and changes nothing, when it would pass a limit.
        """
        changes = dict(outcome.changes)
        deleted = tuple(key for key in dict.fromkeys(outcome.deleted) if key not in changes)
        own = f"{step.name}_result"
        if own not in changes and own not in deleted:
            changes[own] = outcome.result
        size = self._size + self._growth(changes, deleted)
        results_size = self._results_size + utf8_size(outcome.result)
        # A context that is too large already may shrink.
        if size > max(MAX_CONTEXT_BYTES, self._size):
            raise _too_large(step, "the context", size, MAX_CONTEXT_BYTES)
        if results_size > MAX_RESULTS_BYTES:
            raise _too_large(step, "the results of all steps", results_size, MAX_RESULTS_BYTES)
        conflicts = self._conflicts(changes, deleted, seen)
        self._merges += 1
        for key in deleted:
            self._values.pop(key, None)
        self._values.update(changes)
        self._changed.update(dict.fromkeys((*changes, *deleted), (self._merges, step.name)))
        self._size, self._results_size = size, results_size
        self._snapshot = None
        return Merge(changes, deleted, conflicts)

    def _growth(self, changes: Mapping[str, str], deleted: tuple[str, ...]) -> int:
        before = sum(
            utf8_size(key) + utf8_size(self._values[key]) for key in (*changes, *deleted) if key in self._values
        )
        return sum(utf8_size(key) + utf8_size(text) for key, text in changes.items()) - before

    def _conflicts(self, changes: Mapping[str, str], deleted: tuple[str, ...], seen: int) -> tuple[Conflict, ...]:
        conflicts = []
        for key in (*changes, *deleted):
            number, other = self._changed.get(key, (0, ""))
            if number > seen and self._values.get(key) != changes.get(key):
                conflicts.append(Conflict(key, other))
        return tuple(conflicts)


def _too_large(step: Step, what: str, size: int, limit: int) -> StepError:
    return final_step_error(
        f"with the outcome of step `{step.name}`, {what} would have {size:,} bytes, at most {limit:,} are allowed; "
        "keep large data elsewhere and pass a reference"
    )
