"""Why a step, a run, a task or a tool failed: an error inside data, where a call has a status instead."""

from __future__ import annotations

from dataclasses import dataclass, replace

from headwater_server.domain.chunks import ReplyFacts
from headwater_server.domain.errors import HeadwaterError, Reason

MAX_MESSAGE_CHARACTERS = 1_000
MAX_FACT_CHARACTERS = 256
MAX_CAUSES = 8
MAX_RETRY_DELAY_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class ProviderFacts:
    """The provider's facts about a failure. Texts are cut at 256 characters.

    Attributes:
        http_status: status code of its answer; 0 when there was none.
        code: the provider's own code of the error.
        request_id: the provider's id of the request.
    """

    provider: str = ""
    model: str = ""
    http_status: int = 0
    code: str = ""
    request_id: str = ""

    def __post_init__(self) -> None:
        for name in ("provider", "model", "code", "request_id"):
            object.__setattr__(self, name, cut(getattr(self, name), MAX_FACT_CHARACTERS))


@dataclass(frozen=True, slots=True)
class Failure:
    """Why something failed. Never larger than the contract allows: long texts and deep causes are cut.

    Attributes:
        reason: the kind of failure.
        message: one sentence for people, at most 1,000 characters.
        type: kind of the error in the language that raised it, such as `ValueError`; may be empty.
        non_retryable: another attempt cannot succeed.
        retry_delay_seconds: how long to wait before another attempt at least, up to a day; None: no such wish.
        provider: facts of the provider that the failure came from.
        cause: the failure that led to this one, at most 8 deep.
    """

    reason: Reason
    message: str
    type: str = ""
    non_retryable: bool = False
    retry_delay_seconds: float | None = None
    provider: ProviderFacts | None = None
    cause: Failure | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", cut(self.message, MAX_MESSAGE_CHARACTERS))
        object.__setattr__(self, "type", cut(self.type, MAX_FACT_CHARACTERS))
        object.__setattr__(self, "cause", _cut_chain(self.cause, MAX_CAUSES))
        if self.retry_delay_seconds is not None:
            delay = min(max(self.retry_delay_seconds, 0.0), MAX_RETRY_DELAY_SECONDS)
            object.__setattr__(self, "retry_delay_seconds", delay)

    @property
    def text(self) -> str:
        """Type and message, for a sentence about the failure."""
        return f"{self.type}: {self.message}" if self.type and self.type not in self.message else self.message


def failure_of(error: HeadwaterError) -> Failure:
    """The failure that an error stands for."""
    facts = error.metadata
    status = facts.get("http_status", "")
    provider = ProviderFacts(
        provider=facts.get("provider", ""),
        model=facts.get("model", ""),
        http_status=int(status) if status.isdecimal() and len(status) < 10 else 0,
        code=facts.get("provider_code", ""),
        request_id=facts.get("provider_request_id", ""),
    )
    return Failure(
        error.reason,
        error.message,
        retry_delay_seconds=error.retry_after_seconds,
        provider=provider if provider != ProviderFacts() else None,
    )


class StepError(Exception):
    """An attempt of a step failed; with the facts of the model's reply where it failed because of that."""

    def __init__(self, failure: Failure, reply: ReplyFacts | None = None) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.reply = reply


class AttemptLostError(StepError):
    """An attempt was lost without a fault of its step: it does not count towards `max_attempts`."""


def final_step_error(message: str, reason: Reason = Reason.STEP_FAILED) -> StepError:
    """The error of an attempt after which another one cannot succeed."""
    return StepError(Failure(reason, message, non_retryable=True))


def cut(text: str, characters: int) -> str:
    """The text, shortened to at most so many characters."""
    return text if len(text) <= characters else text[: max(characters - 3, 0)] + "..."[:characters]


def _cut_chain(failure: Failure | None, depth: int) -> Failure | None:
    if failure is None or not depth:
        return None
    cause = _cut_chain(failure.cause, depth - 1)
    return failure if cause is failure.cause else replace(failure, cause=cause)
