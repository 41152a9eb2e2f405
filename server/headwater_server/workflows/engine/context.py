"""The context that the steps of a run share: merging what they changed, and keeping it within its limit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from headwater_server.domain.failure import StepError, cut, final_step_error
from headwater_server.domain.workflow import Context, Outcome, Step

MAX_CONTEXT_BYTES = 1_048_576
"""Most bytes of UTF-8 that a context may have, keys and values together, less the results of steps under their keys."""
MAX_RESULTS_BYTES = 1_310_720
"""Most bytes of UTF-8 that the results of all steps of a run may have together.

Both limits are those of a message of 3 MiB: a run has the context, the results and the definition; a task has the
context with the results, and again those of the steps that it depends on.
"""


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
        results: of the completed steps, by the keys that they have in the context unless a handler wrote there.
    """

    def __init__(self, values: Mapping[str, str], results: Mapping[str, str]) -> None:
        self._values: Context = dict(values)
        self._results = dict(results)
        self._size = sum(self._counted(key, text) for key, text in values.items())
        self._results_size = sum(map(utf8_size, results.values()))
        self._merges = 0
        self._changed: dict[str, tuple[int, str]] = {}  # key -> number of the merge that changed it last, and its step
        self._snapshot: Context | None = None

    @property
    def size(self) -> int:
        """Bytes of the values and the results."""
        return self._size + self._results_size

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
        self._results[own] = outcome.result
        size = self._size + self._growth(changes, deleted)
        results_size = self._results_size + utf8_size(outcome.result)
        # A context that is too large already may shrink.
        if size > max(MAX_CONTEXT_BYTES, self._size):
            del self._results[own]
            largest = max(changes, key=lambda key: self._counted(key, changes[key]))
            what = f"the context (largest of the changed keys: `{cut(largest, 100)}`)"
            raise _too_large(step, what, size, MAX_CONTEXT_BYTES)
        if results_size > MAX_RESULTS_BYTES:
            del self._results[own]
            what = f"the results of all steps ({utf8_size(outcome.result):,} bytes are this step's)"
            raise _too_large(step, what, results_size, MAX_RESULTS_BYTES)
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
        before = sum(self._counted(key, self._values[key]) for key in (*changes, *deleted) if key in self._values)
        return sum(self._counted(key, text) for key, text in changes.items()) - before

    def _counted(self, key: str, text: str) -> int:
        """The bytes of a key and its value; 0 for the result of a step, which counts among the results."""
        return 0 if self._results.get(key) == text else utf8_size(key) + utf8_size(text)

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
