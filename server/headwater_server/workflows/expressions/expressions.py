"""The conditions and placeholders of steps, for the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias, TypeVar

from headwater_server.domain.failure import cut, final_step_error
from headwater_server.domain.workflow import Step
from headwater_server.workflows.definition.graph import MAX_STEPS, MAX_VIOLATIONS, Mistake
from headwater_server.workflows.definition.prompts import with_results
from headwater_server.workflows.expressions.evaluator import Asker, Evaluator, StoppedError
from headwater_server.workflows.expressions.messages import (
    Answer,
    Check,
    Decide,
    Decision,
    Fill,
    Filled,
    Job,
    Mistakes,
    Refused,
)

SHOWN_CHARACTERS = 300
OPENING = "{{"

A = TypeVar("A", bound=Answer)

FoundMistakes: TypeAlias = dict[int, list[Mistake]]
"""By the position of their step."""


class Expressions:
    """Asks the evaluator about steps, where they have expressions."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator

    async def mistakes(self, steps: Sequence[Step]) -> FoundMistakes:
        """The mistakes of the conditions and placeholders of a definition, as many as are shown."""
        asker, count = Asker(), 0
        found: FoundMistakes = {}
        for position, step in enumerate(steps[:MAX_STEPS]):
            job = Check(step.condition, _texts(step) if step.is_prompt else {}, step.depends_on)
            if not job.condition and not any(OPENING in text for text in job.texts.values()):
                continue
            found[position] = await self._mistakes(asker, job)
            count += len(found[position])
            if count >= MAX_VIOLATIONS:
                break
        return found

    async def _mistakes(self, asker: Asker, job: Check) -> list[Mistake]:
        try:
            answer = await self._evaluator.ask(asker, job, {})
        except StoppedError as error:
            return [("condition" if job.condition else "action", str(error))]
        return _as(Mistakes, answer).found

    async def decide(self, asker: Asker, step: Step, context: Mapping[str, str]) -> bool:
        """Whether the condition of a step holds in a context of JSON texts. Raises StepError (final)."""
        what = f"the condition of step `{cut(step.name, 100)}`, `{cut(step.condition, SHOWN_CHARACTERS)}`,"
        return _as(Decision, await self._ask(asker, Decide(step.condition), context, what)).holds

    async def fill(self, asker: Asker, step: Step, context: Mapping[str, str], results: Mapping[str, str]) -> Step:
        """The step with its prompt: see `prompts`.

        Args:
            asker: the run.
            step: the step.
            context: of the run, JSON texts.
            results: of its dependencies, JSON texts.

        Raises StepError (final).
        """
        texts = _texts(step)
        if not any(OPENING in text for text in texts.values()):
            return replace(step, action=with_results(step.action, results))
        values = {**context, **{f"steps.{name}.result": text for name, text in results.items()}}
        what = f"the prompt of step `{cut(step.name, 100)}`"
        answer = _as(Filled, await self._ask(asker, Fill(list(texts.values())), values, what))
        action, *instructions = answer.texts
        others = {name: text for name, text in results.items() if name not in set(answer.named)}
        agent = step.agent and replace(step.agent, instructions=instructions[0])
        return replace(step, action=with_results(action, others), agent=agent)

    async def _ask(self, asker: Asker, job: Job, values: Mapping[str, str], what: str) -> Answer:
        try:
            answer = await self._evaluator.ask(asker, job, values)
        except StoppedError as error:
            raise final_step_error(f"{what} {error}") from error
        if isinstance(answer, Refused):
            raise final_step_error(answer.message)
        return answer


def _as(kind: type[A], answer: Answer) -> A:
    if not isinstance(answer, kind):
        raise TypeError(f"the helper process answered with {type(answer).__name__}, not {kind.__name__}")
    return answer


def _texts(step: Step) -> dict[str, str]:
    """The texts of a prompt that may have placeholders, by field: the action, and instructions that the step has for
    itself.
    """
    return {"action": step.action} | ({"agent.instructions": step.agent.instructions} if step.agent else {})
