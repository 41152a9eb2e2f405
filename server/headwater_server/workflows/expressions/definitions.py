"""Checks the definitions of runs before they start."""

from __future__ import annotations

from headwater_server.domain.errors import FieldViolation
from headwater_server.domain.workflow import Workflow
from headwater_server.telemetry.aside import Aside
from headwater_server.workflows.definition import graph
from headwater_server.workflows.expressions.expressions import Expressions
from headwater_server.workflows.journal.base import Journal

LARGE_STEPS = 50
"""A definition with more steps is not checked on the event loop."""


class Definitions:
    """Finds the mistakes of definitions.

    Args:
        journal: knows the handlers of before.
        handlers: the names that the connected workers of a queue have.
        expressions: checks conditions and placeholders.
    """

    def __init__(self, journal: Journal, handlers: graph.KnownHandlers, expressions: Expressions) -> None:
        self._journal = journal
        self._handlers = handlers
        self._expressions = expressions
        self._aside = Aside()

    async def validate(self, workflow: Workflow, queue: str) -> list[FieldViolation]:
        """Every mistake of a definition, and the handlers that no worker has ever registered."""
        unknown = await self.unknown_handlers(workflow, queue)
        names = [FieldViolation(f"workflow.steps[{position}].handler", text) for position, text in unknown.items()]
        return await self.violations(workflow, queue) + names

    async def violations(self, workflow: Workflow, queue: str) -> list[FieldViolation]:
        """Every mistake of a definition. `queue`: of steps that name none; may be empty."""
        mistakes = await self._expressions.mistakes(workflow.steps)
        is_large = len(workflow.steps) > LARGE_STEPS
        return await self._aside.do(lambda: graph.violations(workflow, queue, mistakes), is_large=is_large)

    async def unknown_handlers(self, workflow: Workflow, queue: str) -> dict[int, str]:
        """The handlers that no worker has ever registered; see `graph.unknown_handlers`."""
        queues = {step.queue or queue for step in workflow.steps if step.handler}
        known = {name: await self._journal.handlers(name) | self._handlers(name) for name in queues if name}
        return graph.unknown_handlers(workflow, lambda name: known.get(name, frozenset()), queue)
