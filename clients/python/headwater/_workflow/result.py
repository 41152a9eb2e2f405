"""How far a run is, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from headwater._grpc.wrong_server import json_of, name_of, object_of
from headwater._values.durations import seconds_of
from headwater._values.failures import to_failure
from headwater._values.replies import reply_facts, usage_counts
from headwater.exceptions import Failure, StepExecutionError, WorkflowError
from headwater.v1 import workflow_pb2

_LONGEST_CELL = 60


class StepStatus(StrEnum):
    """How far a step is; a run is `running`, `completed`, `failed` or `cancelled`."""

    PENDING = "pending"
    RUNNING = "running"
    WAITING_FOR_WORKER = "waiting_for_worker"
    RETRYING = "retrying"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


class SkipReason(StrEnum):
    """Why a step was skipped. A server that is newer than this client may have others: they are `unknown`."""

    UNKNOWN = "unknown"
    CONDITION_FALSE = "condition_false"
    DEPENDENCY_FAILED = "dependency_failed"
    DEPENDENCY_SKIPPED = "dependency_skipped"
    NOTHING_FAILED = "nothing_failed"


@dataclass(frozen=True)
class StepResult:
    """The result of a step.

    Attributes:
        name: name of the step.
        status: how far it is.
        result: the handler's return value, or the text of an action; None unless it completed.
        error: in words, why it failed, was skipped or is tried again; None otherwise.
        duration: seconds of its latest attempt; None until that has ended.
        attempts: number of its latest attempt, 0 before the first. One that a crash ended counts too.
        queue: the queue that it waits for; None when it does not wait.
        failure: why it failed or is tried again, as facts, with the causes; None otherwise.
        skip_reason: why it was skipped; None unless it was.
        skipped_because_of: names of the steps that led to the skip, at most 100.
        finish_reason: on an action step: why the model stopped, such as `stop` or `length`; None before the reply.
        usage: on an action step: counts of tokens by name, over all its attempts; None when the provider gave none.
        model: on an action step: the model asked for.
        provider: on an action step: name of the provider that answered.
        progress: the value that its handler gave `step.heartbeat` last, in any attempt; None when it gave none.
    """

    name: str
    status: StepStatus
    result: Any = None
    error: str | None = None
    duration: float | None = None
    attempts: int = 0
    queue: str | None = None
    failure: Failure | None = None
    skip_reason: SkipReason | None = None
    skipped_because_of: tuple[str, ...] = ()
    finish_reason: str | None = None
    usage: Mapping[str, int] | None = None
    model: str | None = None
    provider: str | None = None
    progress: Any = None

    @property
    def successful(self) -> bool:
        """Whether it completed."""
        return self.status is StepStatus.COMPLETED


@dataclass(frozen=True)
class WorkflowResult:
    """A run as it was when it was looked at: at its end, or in the middle of it.

    Attributes:
        run_id: its id.
        workflow_id: `Workflow.id`.
        workflow_name: name of the workflow.
        status: how far it is.
        duration: seconds from its start to its end; None while it runs.
        step_results: by name of the step, in the order of the definition.
        context: the values that the run began with or handlers set, and under `NAME_result` the result of each step.
        error: in words, why it failed; None otherwise.
        failure: why it failed, as facts; its cause is the failure of the first step that failed. None otherwise.
        usage: counts of tokens by name of all action steps together; None when no provider gave any.
    """

    run_id: str
    workflow_id: str
    workflow_name: str
    status: StepStatus
    duration: float | None
    step_results: Mapping[str, StepResult]
    context: dict[str, Any]
    error: str | None = None
    failure: Failure | None = None
    usage: Mapping[str, int] | None = None

    @property
    def successful(self) -> bool:
        """Whether every step completed or was skipped by its condition."""
        return self.status is StepStatus.COMPLETED

    @property
    def failed_steps(self) -> list[str]:
        """Names of the steps that failed."""
        return [step.name for step in self.step_results.values() if step.status is StepStatus.FAILED]

    def get_step_result(self, name: str) -> StepResult | None:
        """The result of the step of that name; None when there is none."""
        return self.step_results.get(name)

    def raise_for_failure(self) -> WorkflowResult:
        """Raise unless the run completed; gives the result itself.

        Raises:
            StepExecutionError: a step failed; `step` names the first, `failure` says why, `run_id` names the run.
            WorkflowError: the run was cancelled, or has not ended.
        """
        if self.successful:
            return self
        for name in self.failed_steps:
            step = self.step_results[name]
            raise StepExecutionError(
                f"step `{name}` of run {self.run_id} failed: {step.error}",
                step=name,
                run_id=self.run_id,
                failure=step.failure,
                reason="STEP_FAILED" if step.failure is None else step.failure.reason,
            )
        detail = f": {self.error}" if self.error else ""
        raise WorkflowError(f"run {self.run_id} is not complete, it is {self.status.value}{detail}")

    def format_summary(self) -> str:
        """The run as a table for people."""
        took = "" if self.duration is None else f" after {self.duration:.2f} s"
        lines = [f"Workflow {self.workflow_name}: {self.status.value}{took} (run {self.run_id})"]
        rows = [_row(step) for step in self.step_results.values()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines += ["  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        return "\n".join(lines)


def _row(step: StepResult) -> tuple[str, ...]:
    attempts = f"attempt {step.attempts}" if step.attempts > 1 else ""
    outcome = f"waits for a worker of {step.queue}" if step.queue else _line(step.error or "")
    if step.successful:
        outcome = _cell(step.result if isinstance(step.result, str) else json.dumps(step.result, ensure_ascii=False))
    took = "" if step.duration is None else f"{step.duration:.2f} s"
    return step.name, step.status.value, took, attempts, outcome


def _line(value: str) -> str:
    return " ".join(value.split())


def _cell(value: str) -> str:
    line = _line(value)
    return line if len(line) <= _LONGEST_CELL else line[: _LONGEST_CELL - 1] + "…"


def status_of_run(number: int) -> StepStatus:
    """The status of a run from the contract's number. Raises HeadwaterError for one that is not known."""
    return StepStatus[name_of(workflow_pb2.WorkflowRunStatus, number, "WORKFLOW_RUN_STATUS_", "the run status")]


def to_result(run: workflow_pb2.WorkflowRun) -> WorkflowResult:
    """A run as the service describes it. Raises HeadwaterError for one that no right server sends."""
    steps = {step.name: _to_step_result(step) for step in run.steps}
    status = status_of_run(run.status)
    return WorkflowResult(
        run_id=run.run_id,
        workflow_id=run.workflow.id,
        workflow_name=run.workflow_name,
        status=status,
        duration=None if status is StepStatus.RUNNING else _run_duration(run),
        step_results=steps,
        context=context_of(run),
        error=run.failure.message or None,
        failure=to_failure(run.failure) if run.HasField("failure") else None,
        usage=usage_counts(run.usage) if run.HasField("usage") else None,
    )


def context_of(run: workflow_pb2.WorkflowRun) -> dict[str, Any]:
    """The context of a run, with the results that a very large run does not repeat in it."""
    values = object_of(f"a context of run {run.run_id}", run.context_json)
    if run.context_lacks_results:
        for step in run.steps:
            if step.result_json:
                values.setdefault(f"{step.name}_result", result_of(step))
    return values


def _to_step_result(step: workflow_pb2.StepRun) -> StepResult:
    ended = step.HasField("start_time") and step.HasField("end_time")
    return StepResult(
        name=step.name,
        status=status_of_step(step.status),
        result=result_of(step),
        error=error_of(step) or None,
        duration=max(seconds_of(step.end_time) - seconds_of(step.start_time), 0.0) if ended else None,
        attempts=step.attempt,
        queue=step.queue or None,
        failure=to_failure(step.failure) if step.HasField("failure") else None,
        skip_reason=to_skip_reason(step.skip_reason) if step.skip_reason else None,
        skipped_because_of=tuple(step.skipped_because_of),
        progress=json_of(f"progress of step {step.name!r}", step.progress_json),
        **vars(reply_facts(step.reply)),
    )


def result_of(step: workflow_pb2.StepRun) -> Any:
    """The result of a step; None for none."""
    return json_of(f"a result of step {step.name!r}", step.result_json)


def status_of_step(number: int) -> StepStatus:
    """The status of a step from the contract's number. Raises HeadwaterError for one that is not known."""
    return StepStatus[name_of(workflow_pb2.StepStatus, number, "STEP_STATUS_", "the step status")]


def to_skip_reason(number: int) -> SkipReason:
    """Why a step was skipped, from the contract's number."""
    known = workflow_pb2.SkipReason.DESCRIPTOR.values_by_number.get(number)
    if known is None or not number:
        return SkipReason.UNKNOWN
    return SkipReason(known.name.removeprefix("SKIP_REASON_").lower())


def error_of(step: workflow_pb2.StepRun) -> str:
    """In words, why a step failed, was skipped or is tried again; empty otherwise."""
    if step.skip_reason:
        return skipped_in_words(step.skip_reason, step.skipped_because_of)
    return step.failure.message


def skipped_in_words(reason: int, because_of: Sequence[str]) -> str:
    """Why a step was skipped, for people."""
    names = ", ".join(f"`{name}`" for name in because_of)
    match to_skip_reason(reason):
        case SkipReason.CONDITION_FALSE:
            return "its condition is false"
        case SkipReason.DEPENDENCY_FAILED:
            return f"{names or 'a step it depends on'} failed"
        case SkipReason.DEPENDENCY_SKIPPED:
            return f"{names or 'a step it depends on'} {'were' if len(because_of) > 1 else 'was'} skipped"
        case SkipReason.NOTHING_FAILED:
            return "no step it depends on failed"
        case _:
            return "for a reason that this client does not know"


def _run_duration(run: workflow_pb2.WorkflowRun) -> float:
    """A run that has only just ended may not say when; then its last step does."""
    ends = [seconds_of(step.end_time) for step in run.steps if step.HasField("end_time")]
    end = seconds_of(run.end_time) if run.HasField("end_time") else max(ends, default=0.0)
    return max(end - seconds_of(run.create_time), 0.0)
