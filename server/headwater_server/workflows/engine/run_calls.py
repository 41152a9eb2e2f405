"""The arguments and results of `Runs`: the request that starts a run, the view of a run, and the errors."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from headwater_server.callers.caller import visible_owner
from headwater_server.domain.errors import FieldViolation, HeadwaterError, Reason
from headwater_server.domain.workflow import Context, RunState, Workflow
from headwater_server.workflows.journal.base import Journal, RunInfo


@dataclass(frozen=True, slots=True)
class StartRequest:
    """A caller's request to start a run.

    Attributes:
        context: the values that the run begins with.
        queue: the queue of handlers of steps that name none; may be empty.
        request_id: the caller's own id of the request; may be empty.
        fingerprint: of the request; it differs when the same id came with another body.
        origin: the headers of the call, as in `domain.call_origin`.
        owner: name of the caller, as in `callers.caller`.
        size: its bytes.
        violations: mistakes of the definition that the caller of `start` has found already.
    """

    workflow: Workflow
    context: Context
    queue: str
    request_id: str
    fingerprint: str
    size: int = 0
    violations: tuple[FieldViolation, ...] = ()
    origin: Mapping[str, str] = field(default_factory=dict)
    owner: str = ""

    def new_run(self, created: float) -> RunInfo:
        """The run that it starts, accepted at this time in seconds since the epoch, with a new id."""
        return RunInfo(
            run_id=f"run_{secrets.token_urlsafe(16)}",
            workflow=self.workflow,
            queue=self.queue,
            request_id=self.request_id,
            fingerprint=self.fingerprint,
            created=created,
            origin=self.origin,
            owner=self.owner,
        )


@dataclass(frozen=True, slots=True)
class RunView:
    """A run as it is now. `ended` is 0.0 while it runs."""

    info: RunInfo
    state: RunState
    sequence: int
    ended: float

    def copied(self) -> RunView:
        """A view that does not change with the run."""
        state = self.state
        kept = replace(state, steps=dict(state.steps), context=dict(state.context), progress=dict(state.progress))
        return replace(self, state=kept)


def invalid_workflow(violations: Sequence[FieldViolation]) -> HeadwaterError:
    """The error for a definition with mistakes."""
    message = "; ".join(f"{v.field}: {v.description}" for v in violations)
    return HeadwaterError(Reason.WORKFLOW_INVALID, message, violations=violations)


async def check_owner(journal: Journal, run_id: str) -> None:
    """Raises HeadwaterError (RUN_NOT_FOUND) for a run that is not there for the caller."""
    owner = visible_owner()
    if owner is not None and await journal.owner(run_id) != owner:
        raise run_not_found(run_id)


def run_not_found(run_id: str) -> HeadwaterError:
    """The error for a run that the journal does not have."""
    return HeadwaterError(
        Reason.RUN_NOT_FOUND,
        "no run has this id; it may be so old that it was removed, ListWorkflowRuns shows those that are kept",
        metadata={"run_id": run_id[:100]},
    )


def run_state_error(run_id: str, message: str) -> HeadwaterError:
    """The error for a call that does not fit the run's state."""
    return HeadwaterError(Reason.RUN_STATE, message, metadata={"run_id": run_id})


def run_completed(run_id: str) -> HeadwaterError:
    """The error for resuming a completed run."""
    return run_state_error(run_id, "the run has completed, so there is nothing to resume")


def run_broken(run_id: str) -> HeadwaterError:
    """The error for a run that this server left although it does not drain."""
    return HeadwaterError(
        Reason.INTERNAL,
        "Headwater failed while it drove the run; its log says why, and ResumeWorkflowRun continues",
        metadata={"run_id": run_id},
    )
