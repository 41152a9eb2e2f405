"""Failures that follow from others: of a run, and of a step that is not tried again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from headwater_server.domain.errors import Reason
from headwater_server.domain.failure import Failure
from headwater_server.domain.workflow import StepState

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


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:5])
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown
