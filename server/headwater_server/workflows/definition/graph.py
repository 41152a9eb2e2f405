"""Checks the definition of a workflow: finds every mistake at once, each with its place and its cure."""

from __future__ import annotations

import difflib
import functools
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from itertools import islice
from types import MappingProxyType
from typing import TypeAlias

from headwater_server.domain.errors import FieldViolation
from headwater_server.domain.json_text import parse_json
from headwater_server.domain.workflow import RetryPolicy, RunIf, Step, Workflow

MAX_STEPS = 2_000
MAX_NAME_CHARACTERS = 256
MAX_ATTEMPTS = 101
MAX_BACKOFF = 100
MAX_DELAY_SECONDS = 86_400
MAX_TIMEOUT_SECONDS = 365 * 86_400
MAX_VIOLATIONS = 1_000
MAX_CYCLES = 10
MAX_UNKNOWN_HANDLERS = 100
MAX_HINTS = 10
_HINT_CHARACTERS = 64
_HINT_CANDIDATES = 200
_SHOWN_NAMES = 10
_SHOWN_PATH = 40

KnownHandlers: TypeAlias = Callable[[str], frozenset[str]]
"""The names that workers have ever registered on a queue."""
Mistake: TypeAlias = tuple[str, str]
"""Path within the step or the workflow, and text."""


def violations(
    workflow: Workflow, queue: str, expressions: Mapping[int, Sequence[Mistake]] = MappingProxyType({})
) -> list[FieldViolation]:
    """Every mistake of a definition, the first 1,000 of them.

    Args:
        workflow: the definition.
        queue: the queue of steps that name none; may be empty.
        expressions: the mistakes of conditions and placeholders, by the position of their step.
    """
    mistakes = (FieldViolation(path, text) for path, text in _mistakes(workflow, queue, expressions))
    return list(islice(mistakes, MAX_VIOLATIONS))


def warnings(workflow: Workflow) -> list[FieldViolation]:
    """The joins of a definition without mistakes that a condition would silence although nothing has failed."""
    steps = {step.name: (position, step) for position, step in enumerate(workflow.steps)}
    order = TopologicalSorter({step.name: step.depends_on for step in workflow.steps}).static_order()
    skippers: dict[str, int] = {}  # by name, as bits: the steps whose condition also skips this one
    found = []
    for name in order:
        position, step = steps[name]
        before = [skippers[other] for other in step.depends_on]
        if step.run_if is None and len(set(before)) > 1:
            first = next(other for other, bits in zip(step.depends_on, before, strict=True) if bits)
            text = f"is skipped when `{_short(first)}` is; set none_failed if it is to run then, all_succeeded if not"
            found.append((position, text))
        skippers[name] = _inherited(step.run_if, before)
        if step.condition or step.run_if is RunIf.ANY_FAILED:
            skippers[name] |= 1 << position
    return [FieldViolation(f"workflow.steps[{position}].run_if", text) for position, text in sorted(found)]


def _inherited(run_if: RunIf | None, before: Sequence[int]) -> int:
    match run_if:
        case None | RunIf.ALL_SUCCEEDED:
            return functools.reduce(operator.or_, before, 0)
        case RunIf.NONE_FAILED:
            return functools.reduce(operator.and_, before) if before else 0
        case _:
            return 0


def unknown_handlers(workflow: Workflow, known_handlers: KnownHandlers, queue: str) -> dict[int, str]:
    """Names the handlers that no worker has ever registered, by the position of their step; the first 100 of them.

    Args:
        workflow: the definition.
        known_handlers: the names that workers have ever registered on a queue.
        queue: the queue of steps that name none; may be empty.
    """
    hints = _Hints()
    sorted_names: dict[str, list[str]] = {}  # of each queue, sorted once
    found: dict[int, str] = {}
    for position, step in enumerate(workflow.steps[:MAX_STEPS]):
        where = step.queue or queue
        if not (step.handler and where) or step.handler in (known := known_handlers(where)):
            continue
        names = sorted_names.get(where) or sorted_names.setdefault(where, sorted(known))
        found[position] = _unknown_handler(step.handler, where, names, hints)
        if len(found) == MAX_UNKNOWN_HANDLERS:
            break
    return found


def _unknown_handler(handler: str, queue: str, names: Sequence[str], hints: _Hints) -> str:
    text = f"no worker of queue `{_short(queue)}` has ever registered a handler `{_short(handler)}`"
    if not names:
        return f"{text}, nor any other; start a worker for it"
    more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
    shown = ", ".join(f"`{_short(name)}`" for name in names[:_SHOWN_NAMES])
    return f"{text}; there are {shown}{more}{hints.closest(handler, names)}"


def _mistakes(workflow: Workflow, queue: str, expressions: Mapping[int, Sequence[Mistake]]) -> Iterator[Mistake]:
    for path, text in _workflow_mistakes(workflow):
        yield f"workflow.{path}", text
    if len(workflow.steps) > MAX_STEPS:
        return
    hints = _Hints()
    names = _Names(workflow.steps, hints)
    for position, step in enumerate(workflow.steps):
        for path, text in (
            *names.mistakes(step, position),
            *_work_mistakes(step, queue),
            *expressions.get(position, ()),
            *_limit_mistakes(step),
        ):
            yield f"workflow.steps[{position}].{path}", text
    for path, text in _cycles(workflow.steps, names.first):
        yield f"workflow.{path}", text


def _workflow_mistakes(workflow: Workflow) -> Iterator[Mistake]:
    yield from _bad_length("name", workflow.name, least=1)
    yield from _bad_length("id", workflow.id)
    if not workflow.steps:
        yield "steps", "there are none; add one with an action or a handler"
    if len(workflow.steps) > MAX_STEPS:
        yield "steps", f"there are {len(workflow.steps):,}, at most {MAX_STEPS:,} are allowed; split the workflow"
    if not 0 < workflow.schedule_timeout_seconds <= MAX_TIMEOUT_SECONDS:
        seconds = workflow.schedule_timeout_seconds
        yield "schedule_timeout", f"is {seconds:g} s, must be above 0, at most 365 days; leave it out for an hour"


def _limit_mistakes(step: Step) -> Iterator[Mistake]:
    if step.timeout_seconds is not None and not 0 < step.timeout_seconds <= MAX_TIMEOUT_SECONDS:
        yield "timeout", f"is {step.timeout_seconds:g} s, must be above 0, at most 365 days; leave it out for no limit"
    for path, text in _policy_mistakes(step.retry_policy):
        yield f"retry_policy.{path}", text
    if step.run_if is RunIf.ANY_FAILED and not step.depends_on:
        yield "run_if", "is any_failed, but the step depends on no other; name those whose failure it waits for"
    if step.metadata and (wrong := _not_an_object(step.metadata)):
        yield "metadata_json", f"{wrong}; write a JSON object such as {{}}"


def _policy_mistakes(policy: RetryPolicy) -> Iterator[Mistake]:
    first, last = policy.initial_delay_seconds, policy.max_delay_seconds
    if not 0 <= first <= MAX_DELAY_SECONDS:
        yield "initial_delay", f"is {first:g} s, must be 0 to 1 day"
    if not 1 <= policy.backoff <= MAX_BACKOFF:
        yield "backoff", f"is {policy.backoff:g}, must be 1 to {MAX_BACKOFF}"
    if not 0 <= last <= MAX_DELAY_SECONDS:
        yield "max_delay", f"is {last:g} s, must be 0 to 1 day"
    elif last < first:
        yield "max_delay", f"is {last:g} s, must be at least initial_delay, which is {first:g} s"
    if not 1 <= policy.max_attempts <= MAX_ATTEMPTS:
        yield "max_attempts", f"is {policy.max_attempts}, must be 1 to {MAX_ATTEMPTS}; 1 tries the step at most once"


class _Names:
    """The steps of a workflow by name. `first`: the position of each name, where it comes first."""

    def __init__(self, steps: Sequence[Step], hints: _Hints) -> None:
        self._hints = hints
        self.first: dict[str, int] = {}
        for position, step in enumerate(steps):
            self.first.setdefault(step.name, position)

    def mistakes(self, step: Step, position: int) -> Iterator[Mistake]:
        yield from _bad_length("name", step.name, least=1)
        if self.first[step.name] != position and step.name:
            yield "name", f"`{step.name}` is the name of steps[{self.first[step.name]}] too; give each step its own"
        seen: set[str] = set()
        for index, name in enumerate(step.depends_on):
            path = f"depends_on[{index}]"
            if name in seen:
                yield path, f"`{name}` is there twice; take one out"
            elif name == step.name:
                yield path, "the step depends on itself; take it out"
            elif name not in self.first:
                yield path, f"there is no step `{_short(name)}`{self._hints.closest(name, self.first)}"
            seen.add(name)


def _work_mistakes(step: Step, queue: str) -> Iterator[Mistake]:
    """Mistakes in the work that a step names, and in its place."""
    if not step.action and not step.handler:
        yield "action", "the step has neither an action nor a handler; give it one"
    yield from _bad_length("queue", step.queue)
    if not step.handler:
        return
    yield from _bad_length("handler", step.handler)
    if not (step.queue or queue):
        yield "queue", f"handler `{_short(step.handler)}` has no queue; name one, here or for the run"


def _cycles(steps: Sequence[Step], first: dict[str, int]) -> Iterator[Mistake]:
    """Cycles that have no step in common, the first few."""
    graph = {
        name: [other for other in dict.fromkeys(steps[position].depends_on) if other in first and other != name]
        for name, position in first.items()
    }
    for _ in range(MAX_CYCLES):
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            # Each name is a dependency of the next one, and the last is the first again: turned round, each depends on
            # the next.
            cycle: list[str] = error.args[1][:0:-1]
        else:
            return
        start = min(range(len(cycle)), key=lambda index: first[cycle[index]])
        path = [*cycle[start:], *cycle[:start], cycle[start]]
        position = first[path[0]]
        place = f"steps[{position}].depends_on[{steps[position].depends_on.index(path[1])}]"
        yield place, f"a cycle, each step depends on the next: {_path(path)}; take one dependency out"
        for name in cycle:
            del graph[name]
        graph = {name: [other for other in others if other in graph] for name, others in graph.items()}


def _path(names: Sequence[str]) -> str:
    if len(names) <= _SHOWN_PATH:
        return " -> ".join(names)
    half = _SHOWN_PATH // 2
    return " -> ".join([*names[:half], f"({len(names) - 2 * half} more)", *names[-half:]])


def _bad_length(path: str, text: str, least: int = 0) -> Iterator[Mistake]:
    if not least <= len(text) <= MAX_NAME_CHARACTERS:
        sizes = f"{least} to {MAX_NAME_CHARACTERS}" if least else f"at most {MAX_NAME_CHARACTERS}"
        yield path, f"has {len(text):,} characters, must have {sizes}"


class _Hints:
    """Suggests a known name for an unknown one. Comparing costs much, so there are few hints, only for short names."""

    def __init__(self) -> None:
        self._left = MAX_HINTS

    def closest(self, name: str, names: Iterable[str]) -> str:
        """Empty when nothing is near."""
        if not self._left or len(name) > _HINT_CHARACTERS:
            return ""
        self._left -= 1
        candidates = islice((other for other in names if len(other) <= _HINT_CHARACTERS), _HINT_CANDIDATES)
        close = difflib.get_close_matches(name, list(candidates), n=1)
        return f"; did you mean `{close[0]}`?" if close else ""


def _short(name: str) -> str:
    return name if len(name) <= MAX_NAME_CHARACTERS else name[:MAX_NAME_CHARACTERS] + "…"


def _not_an_object(text: str) -> str:
    """Why a text is no JSON object; empty when it is one."""
    try:
        value = parse_json(text)
    except ValueError as error:
        return str(error)
    return "" if isinstance(value, dict) else "is JSON, but not an object"
