"""A model's reply to the action of a step, and whether it counts as whole."""

from __future__ import annotations

from dataclasses import dataclass

from headwater_server.domain.chunks import FinishReason, ReplyFacts
from headwater_server.domain.errors import Reason
from headwater_server.domain.failure import Failure, StepError
from headwater_server.domain.workflow import Step

_CUT = {
    FinishReason.LENGTH: "the reply was cut at the limit of tokens; raise max_tokens or ask for less",
    FinishReason.TOOL_CALLS: "the model asks for tools, and the server cannot call one; use a handler",
    FinishReason.CONTENT_FILTER: "the provider's filter cut the reply",
    FinishReason.REFUSAL: "the model refused",
    FinishReason.PAUSE: "the provider paused the reply before its end",
}


@dataclass(frozen=True, slots=True)
class Reply:
    """The text of a reply and its facts."""

    text: str
    facts: ReplyFacts


def check_whole(step: Step, facts: ReplyFacts | None) -> None:
    """Raises StepError (final) for a reply that is not whole, unless the step accepts its finish reason."""
    if facts is None or (why := _CUT.get(facts.reason)) is None or facts.reason in step.accept_finish_reasons:
        return
    message = f"the reply ended with `{facts.reason.value}`: {why}, or name the reason in accept_finish_reasons"
    raise StepError(Failure(Reason.STEP_FAILED, message, non_retryable=True), facts)
