"""A model's reply to the action of a step, and whether it counts as whole."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from headwater_server.domain.chunks import FinishReason, ReplyFacts
from headwater_server.domain.errors import Reason
from headwater_server.domain.failure import Failure, StepError
from headwater_server.domain.json_text import check_json, unfenced
from headwater_server.domain.messages import AgentConfig
from headwater_server.domain.workflow import Outcome, Step

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


def whole_outcome(step: Step, agent: AgentConfig, outcome: Outcome) -> Outcome:
    """The outcome of an attempt; where a model replied and JSON was asked for, with that as the result.

    Raises StepError for a reply that is not whole, unless the step accepts its finish reason, and for one that is not
    the JSON that was asked for.
    """
    facts = outcome.reply
    if facts is None:
        return outcome
    why = _CUT.get(facts.reason)
    if why is not None and facts.reason not in step.accept_finish_reasons:
        message = f"the reply ended with `{facts.reason.value}`: {why}, or name the reason in accept_finish_reasons"
        raise StepError(Failure(Reason.STEP_FAILED, message, non_retryable=True), facts)
    text = json.loads(outcome.result)
    if agent.response_format is None or not isinstance(text, str):
        return outcome
    text = unfenced(text)
    try:
        check_json(text)
    except ValueError as error:
        message = f"the reply, of which response_format wants JSON, {error}"
        raise StepError(Failure(Reason.STEP_FAILED, message), facts) from error
    return replace(outcome, result=text)
