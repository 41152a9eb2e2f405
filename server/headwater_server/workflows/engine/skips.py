"""When a step is skipped because of the steps that it depends on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headwater_server.domain.workflow import EventType, RunEvent, RunIf, SkipReason, Step, StepState, StepStatus

MAX_NAMES = 100
"""Most names in `skipped_because_of` and `failed_steps`."""


def skip_of(step: Step, dependencies: Sequence[StepState], position: Mapping[str, int]) -> RunEvent | None:
    """The event of the skip of a step whose dependencies have all ended; None when it may run.

    Args:
        step: the step.
        dependencies: of the step, in the order of the definition.
        position: of each step in the definition.
    """
    missed = [state for state in dependencies if state.status is not StepStatus.COMPLETED]
    failed = sorted({name for state in missed for name in _failed_names(state)}, key=position.__getitem__)
    match step.run_if:
        case RunIf.ALL_DONE:
            return None
        case RunIf.ANY_FAILED:
            return None if failed else _skip(step, SkipReason.NOTHING_FAILED, ())
        case RunIf.NONE_FAILED if not failed and len(missed) < len(dependencies):
            return None
    if not missed:
        return None
    if failed:
        return _skip(step, SkipReason.DEPENDENCY_FAILED, failed)
    return _skip(step, SkipReason.DEPENDENCY_SKIPPED, [state.name for state in missed])


def silenced(step: Step, skip: RunEvent, dependencies: Sequence[StepState]) -> RunEvent | None:
    """The warning of a step that is skipped although some of its dependencies completed, and that names no rule."""
    completed = [state.name for state in dependencies if state.status is StepStatus.COMPLETED]
    if step.run_if is not None or skip.skip_reason is not SkipReason.DEPENDENCY_SKIPPED or not completed:
        return None
    text = (
        f"`{step.name}` is skipped because `{skip.because_of[0]}` was, though `{completed[0]}` completed; "
        "if it is to run all the same, set run_if to none_failed, and to all_succeeded if not"
    )
    return RunEvent(EventType.RUN_WARNING, step=step.name, message=text)


def _skip(step: Step, reason: SkipReason, names: Sequence[str]) -> RunEvent:
    return RunEvent(EventType.STEP_SKIPPED, step=step.name, skip_reason=reason, because_of=tuple(names[:MAX_NAMES]))


def _failed_names(state: StepState) -> tuple[str, ...]:
    """The steps that failed or were cancelled and so kept this one from completing."""
    if state.status is not StepStatus.SKIPPED:
        return (state.name,)
    return state.skipped_because_of if state.skip_reason is SkipReason.DEPENDENCY_FAILED else ()
