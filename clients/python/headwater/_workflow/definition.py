"""A workflow on the caller's side: named steps, and every mistake that can be seen without a server."""

from __future__ import annotations

import graphlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any, Unpack

from headwater._values.durations import to_duration
from headwater._values.json_values import checked_json
from headwater._values.names import all_names_nearest
from headwater._values.replies import FINISH_REASON_NUMBERS
from headwater._values.validation import flag, text
from headwater._workflow.arguments import (
    RunIf,
    StepSettings,
    finish_reasons,
    json_object,
    limit,
    names_of,
    optional,
    step_agent,
    to_run_if,
)
from headwater._workflow.retry_policy import RetryPolicy, to_retry_policy
from headwater.v1 import agent_pb2, workflow_pb2

Violation = tuple[str, str]
"""Path of a field, and what is wrong with it."""

MAX_STEPS = 2_000
MAX_NAME = 256


@all_names_nearest
@dataclass(frozen=True)
class Step:
    """One node of a workflow. `Workflow.add_step` makes it and says what the fields mean."""

    name: str
    action: str = ""
    handler: str = ""
    depends_on: tuple[str, ...] = ()
    condition: str = ""
    timeout: float | None = None
    retry_policy: RetryPolicy = field(default_factory=RetryPolicy)
    parallel: bool = True
    description: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    queue: str = ""
    accept_finish_reasons: tuple[str, ...] = ()
    run_if: RunIf | None = None
    agent: agent_pb2.AgentConfig | None = None

    @property
    def max_retries(self) -> int:
        """How often a failed attempt is repeated: the attempts of `retry_policy` less the first."""
        return self.retry_policy.max_attempts - 1


@all_names_nearest
class Workflow:
    """A definition: steps that depend on each other without a cycle. It does no I/O.

    A run keeps the definition that it began with; later additions count for later runs.

    Args:
        name: for people and for lists of runs, 1 to 256 characters.
        description: its purpose.
        id: the caller's own id of the definition; it comes back as `WorkflowResult.workflow_id`. Default: the name.
        schedule_timeout: seconds that a step may wait for a worker; None for an hour.

    Raises:
        ValidationError: for an argument of the wrong type.
    """

    def __init__(
        self, name: str, description: str = "", *, id: str | None = None, schedule_timeout: float | None = None
    ) -> None:
        self.name = text("name", name)
        self.description = text("description", description)
        self.id = text("id", name if id is None else id)
        self.schedule_timeout = None if schedule_timeout is None else limit("schedule_timeout", schedule_timeout)
        self._steps: list[Step] = []
        self._handlers: Collection[str] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """A copy no longer follows the agent: it knows the handlers that there are now."""
        return vars(self) | {"_handlers": None if self._handlers is None else frozenset(self._handlers)}

    def __repr__(self) -> str:
        return f"Workflow(name={self.name!r}, steps={[step.name for step in self._steps]!r})"

    @property
    def steps(self) -> list[Step]:
        """The steps in the order in which they were added; a copy."""
        return list(self._steps)

    def get_step(self, name: str) -> Step | None:
        """The step of that name; None when there is none."""
        return next((step for step in self._steps if step.name == name), None)

    def add_step(
        self,
        name: str,
        action: str | None = None,
        handler: str | None = None,
        depends_on: str | Iterable[str] | None = None,
        condition: str | None = None,
        timeout: float | None = None,
        max_retries: int | None = None,
        parallel: bool = True,
        description: str = "",
        metadata: Mapping[str, Any] | None = None,
        queue: str | None = None,
        retry_policy: RetryPolicy | None = None,
        accept_finish_reasons: str | Iterable[str] | None = None,
        run_if: RunIf | str | None = None,
        **settings: Unpack[StepSettings],
    ) -> Step:
        """Add a step. It needs an `action`, a `handler` or both.

        Args:
            name: unique in the workflow, 1 to 256 characters.
            action: a prompt for the agent's model; the reply is the result. `{{ context.topic }}`, or `{{ topic }}` for
                short, and `{{ steps.draft.result }}` are filled in, each a CEL expression; the results of the steps it
                depends on that it does not name follow as JSON. Beside a handler it is only a label.
            handler: name under which a function was registered, by `WorkflowAgent.register_handler` or a worker.
            depends_on: names of the steps that must end first; `run_if` says how.
            condition: a CEL expression over `context`, such as `context.score < 0.8`; the step is skipped unless it is
                true.
            timeout: seconds that one attempt may take; None for no limit.
            max_retries: how often a failed attempt is repeated, 0 to 100; None: as `retry_policy` says. With 0 the step
                is at most once: an attempt that was lost is not repeated either.
            parallel: False: the step runs alone.
            description: its purpose.
            metadata: JSON values for its handler (`step.metadata`).
            queue: the queue of a fleet of workers that have the handler; None: this process has it.
            retry_policy: when and how often a failed attempt is repeated; None: 4 attempts, the later ones after 0.2,
                0.4 and 0.8 seconds.
            accept_finish_reasons: `length`, `tool_calls`, `content_filter`, `refusal` or `pause`: a reply to the action
                that ends so counts as whole. Others of these fail the step.
            run_if: when the step runs, once those it depends on have ended: `all_succeeded`, `none_failed` (and at
                least one completed; one that its own condition skipped does not matter), `all_done`, or `any_failed`
                for cleaning up. None: as `all_succeeded`, with a `warning` event when a condition's skip skips a join.
            settings: settings of the agent for this action alone: `model`, `provider`, `instructions`, `temperature`,
                `max_tokens`, `top_p`, `stop`, `seed`, `reasoning_effort`, `response_format`. With the last, the result
                is the parsed JSON.

        Raises:
            ValidationError: for an argument of the wrong type; how steps fit together is checked by `validate`.
        """
        step = Step(
            name=text("name", name),
            action=optional("action", action),
            handler=optional("handler", handler),
            depends_on=names_of("depends_on", depends_on),
            condition=optional("condition", condition),
            timeout=None if timeout is None else limit("timeout", timeout),
            retry_policy=to_retry_policy(retry_policy, max_retries),
            parallel=flag("parallel", parallel),
            description=text("description", description),
            metadata=json_object(metadata),
            queue=optional("queue", queue),
            accept_finish_reasons=finish_reasons("accept_finish_reasons", accept_finish_reasons),
            run_if=to_run_if(run_if),
            agent=step_agent(settings, _STEP_ARGUMENTS),
        )
        self._steps.append(step)
        return step

    def validate(self) -> list[str]:
        """Every mistake that can be seen here, in words; empty when there is none.

        Whether a handler is registered is known for a workflow of `WorkflowAgent.create_workflow`. Conditions are
        checked by the server when the workflow is executed.
        """
        return [f"{path}: {description}" for path, description in violations(self, self._handlers)]


_STEP_ARGUMENTS = (*(item.name for item in fields(Step) if item.name != "agent"), "max_retries")


def violations(workflow: Workflow, handlers: Collection[str] | None) -> list[Violation]:
    """Every mistake with the path of its field; `handlers` are those of this process, None when unknown."""
    found: list[Violation] = []
    found += name_violations("workflow.name", workflow.name)
    if workflow.id != workflow.name and len(workflow.id) > MAX_NAME:
        found.append(("workflow.id", f"is longer than {MAX_NAME} characters"))
    if not 1 <= len(workflow.steps) <= MAX_STEPS:
        found.append(("workflow.steps", f"must be 1 to {MAX_STEPS:,} steps, not {len(workflow.steps):,}; use add_step"))
    first: dict[str, int] = {}
    names = {step.name for step in workflow.steps}
    for index, step in enumerate(workflow.steps):
        path = f"workflow.steps[{index}]"
        found += name_violations(f"{path}.name", step.name)
        if first.setdefault(step.name, index) != index:
            found.append((f"{path}.name", f"`{step.name}` is the name of step {first[step.name]} too; rename one"))
        found += _dependency_violations(path, step, names)
        if not step.action and not step.handler:
            found.append((path, f"step `{step.name}` has neither action nor handler; give it one"))
        if handlers is not None and step.handler and not step.queue and step.handler not in handlers:
            found.append((f"{path}.handler", _unknown_handler(step.handler, handlers)))
    depends_on: dict[str, list[str]] = {}
    for step in workflow.steps:
        depends_on.setdefault(step.name, []).extend(step.depends_on)
    if cycle := find_cycle(depends_on):
        found.append(("workflow.steps", f"depend on each other in a cycle: {' -> '.join(cycle)}"))
    return found


def name_violations(path: str, name: str) -> list[Violation]:
    if not name:
        return [(path, "is empty")]
    return [(path, f"is longer than {MAX_NAME} characters")] if len(name) > MAX_NAME else []


def _dependency_violations(path: str, step: Step, names: Collection[str]) -> list[Violation]:
    found: list[Violation] = []
    for position, name in enumerate(step.depends_on):
        field_path = f"{path}.depends_on[{position}]"
        if name == step.name:
            found.append((field_path, f"step `{name}` depends on itself"))
        elif name not in names:
            found.append((field_path, f"no step is called `{name}`{_closest(name, names)}"))
        elif name in step.depends_on[:position]:
            found.append((field_path, f"names `{name}` twice"))
    return found


def _unknown_handler(name: str, handlers: Collection[str]) -> str:
    known = f"registered are {', '.join(sorted(handlers))}" if handlers else "none is registered"
    return f"no handler is registered as `{name}` ({known}); call agent.register_handler({name!r}, function)"


def _closest(name: str, names: Collection[str]) -> str:
    close = get_close_matches(name, [other for other in names if other], n=1)
    return f"; did you mean `{close[0]}`?" if close else ""


def find_cycle(depends_on: Mapping[str, Sequence[str]]) -> list[str]:
    """The names along one cycle, the first again at the end; empty when there is none. A step on itself is no cycle."""
    known = {name: [n for n in names if n in depends_on and n != name] for name, names in depends_on.items()}
    try:
        graphlib.TopologicalSorter(known).prepare()
    except graphlib.CycleError as error:
        names: list[str] = error.args[1]
        cycle = names[:0:-1]  # graphlib goes from a dependency to its dependants
        position = {name: index for index, name in enumerate(depends_on)}
        first = min(range(len(cycle)), key=lambda index: position[cycle[index]])
        return [*cycle[first:], *cycle[:first], cycle[first]]
    return []


def to_message(workflow: Workflow, to_step: Callable[[Step], workflow_pb2.Step]) -> workflow_pb2.Workflow:
    """The definition as a message, less its agent."""
    limit = workflow.schedule_timeout
    return workflow_pb2.Workflow(
        name=workflow.name,
        description=workflow.description,
        id=workflow.id,
        steps=map(to_step, workflow.steps),
        schedule_timeout=None if limit is None else to_duration(limit),
    )


def step_message(step: Step) -> workflow_pb2.Step:
    """A step as a message."""
    return workflow_pb2.Step(
        name=step.name,
        action=step.action,
        handler=step.handler,
        depends_on=step.depends_on,
        condition=step.condition,
        timeout=None if step.timeout is None else to_duration(step.timeout),
        retry_policy=step.retry_policy.to_message(),
        exclusive=not step.parallel,
        description=step.description,
        metadata_json=checked_json("metadata", dict(step.metadata)) if step.metadata else "",
        queue=step.queue,
        accept_finish_reasons=[FINISH_REASON_NUMBERS[name] for name in step.accept_finish_reasons],
        run_if=f"RUN_IF_{step.run_if.name}" if step.run_if else None,
        agent=step.agent,
    )
