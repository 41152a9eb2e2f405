"""When a step runs, once the steps it depends on have ended."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from headwater._values.validation import invalid


class RunIf(StrEnum):
    """When a step runs. A step that was skipped because of a failure counts as failed."""

    ALL_SUCCEEDED = "all_succeeded"
    NONE_FAILED = "none_failed"
    ALL_DONE = "all_done"
    ANY_FAILED = "any_failed"


def to_run_if(value: Any) -> RunIf | None:
    """The rule from the argument of `add_step`. Raises ValidationError."""
    if value is None:
        return None
    try:
        return RunIf(value)
    except ValueError:
        raise invalid("run_if", f"must be one of {', '.join(RunIf)}, not {value!r}") from None
