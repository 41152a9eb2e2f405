"""Failures that follow from others: of a run, and of a step that is not tried again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import structlog

from headwater_server.domain.errors import PROVIDER_FAILURES, Reason
from headwater_server.domain.failure import Failure
from headwater_server.domain.workflow import EventType, RunEvent, StepState

log = structlog.get_logger("headwater.workflows")

_AT_MOST_ONCE = (
    "whether the attempt ran is unknown, and the step is at most once (max_attempts is 1), so it is not tried again"
)


def run_failure(failed: Sequence[StepState]) -> Failure:
    """The failure of a run in which these steps failed."""
    cause = failed[0].failure
    message = f"{len(failed)} steps failed: {_listed([state.name for state in failed])}"
    if len(failed) == 1:
        message = f"step `{failed[0].name}` failed" + (f": {cause.text}" if cause else "")
    return Failure(Reason.STEP_FAILED, message, cause=cause)


def at_most_once(failure: Failure) -> Failure:
    """The failure of a step that is not tried again although the end of its attempt is unknown."""
    message = f"{failure.message}; {_AT_MOST_ONCE}"
    return replace(failure, message=message, non_retryable=True)


def log_failure(run_id: str, event: RunEvent) -> None:
    """Logs the end of an attempt of a step that failed: a provider's failure as a warning, any other at level debug.

    Its message is left out: a provider or a handler may quote the prompt in it.
    """
    failure = event.failure
    if failure is None or event.type not in (EventType.STEP_RETRYING, EventType.STEP_FAILED):
        return
    facts: dict[str, object] = {"step": event.step, "attempt": event.attempt, "reason": failure.reason.value}
    if event.type is EventType.STEP_RETRYING:
        facts["delay_seconds"] = round(event.delay_seconds, 4)
    if (provider := failure.provider) is not None:
        named = {"provider": provider.provider, "model": provider.model, "http_status": provider.http_status}
        more = {"provider_code": provider.code, "provider_request_id": provider.request_id}
        facts |= {name: value for name, value in (named | more).items() if value}
    say = log.warning if failure.reason in PROVIDER_FAILURES else log.debug
    say("step attempt failed", run_id=run_id, **facts)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:5])
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown
