"""Conditions and placeholders without a helper process, for tests of the engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from headwater_server.domain.workflow import Step
from headwater_server.workflows.definition import conditions
from headwater_server.workflows.engine.active import DEFAULT_LIMITS, RunLimits
from headwater_server.workflows.engine.runs import Runs
from headwater_server.workflows.engine.steps import Act, StepRunner
from headwater_server.workflows.expressions import helper
from headwater_server.workflows.expressions.evaluator import Evaluator
from headwater_server.workflows.expressions.expressions import Expressions
from headwater_server.workflows.expressions.messages import Answer, Job
from headwater_server.workflows.journal.base import Journal
from headwater_server.workflows.workers.pool import WorkerPool


class FakeHelper:
    """Does jobs in this process, without limits."""

    @classmethod
    async def start(cls, seconds: float) -> FakeHelper:
        return cls()

    async def ask(self, job: Job, values: Mapping[str, str]) -> Answer:
        return helper.answer(job, lambda keys: {key: values[key] for key in keys or values if key in values})

    async def stop(self) -> None:
        """Nothing runs."""


def fake_expressions() -> Expressions:
    """Expressions that are evaluated in this process."""
    return Expressions(Evaluator(FakeHelper.start))


def fake_runs(
    journal: Journal,
    pool: WorkerPool,
    act: Act,
    retention_seconds: float,
    clock: Callable[[], float] = time.time,
    limits: RunLimits = DEFAULT_LIMITS,
) -> Runs:
    """Runs whose expressions are evaluated in this process."""
    expressions = fake_expressions()
    return Runs(journal, StepRunner(pool, act, expressions), expressions, retention_seconds, clock, limits)


async def decide(step: Step, context: Mapping[str, str]) -> bool:
    """Decides conditions for a scheduler."""
    return conditions.evaluate(step.condition, context)
