"""Runs as text for people, and results as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from headwater._grpc.wrong_server import wrong
from headwater._values.durations import seconds_of
from headwater._values.replies import reply_facts
from headwater._workflow.result import context_of, error_of, result_of, status_of_run, status_of_step
from headwater.cli.output import UNSAFE_IN_LINE, one_line, table
from headwater.cli.workflow.run_lines import result_line
from headwater.cli.workflow.run_progress import took
from headwater.v1 import agent_pb2, workflow_pb2

_LONGEST_CELL = 100


def run_table(runs: Iterable[workflow_pb2.WorkflowRun]) -> str:
    """A list of runs."""
    heads = ("RUN", "WORKFLOW", "STATUS", "STARTED", "TOOK", "ERROR")
    rows = [
        (
            one_line(run.run_id),
            one_line(run.workflow_name, _LONGEST_CELL),
            status_of_run(run.status).value,
            _moment(run.create_time),
            took(seconds_of(run.create_time), seconds_of(run.end_time)) or "-",
            one_line(run.failure.message, _LONGEST_CELL),
        )
        for run in runs
    ]
    return table(heads, rows, flexible=(1,))


def run_text(run: workflow_pb2.WorkflowRun) -> str:
    """How far a run and its steps are."""
    facts = [
        ("run", run.run_id),
        ("workflow", run.workflow_name),
        ("status", status_of_run(run.status).value),
        ("queue", run.queue),
        ("started", _moment(run.create_time)),
        ("ended", _moment(run.end_time) if run.HasField("end_time") else ""),
        ("event", str(run.sequence)),
        ("tokens", _tokens(run.usage) if run.HasField("usage") else ""),
        ("error", run.failure.message),
    ]
    head = "\n".join(f"{name + ':':10}{one_line(value)}" for name, value in facts if value)
    rows = [_step_row(step) for step in run.steps]
    text = f"{head}\n\n{table(('STEP', 'STATUS', 'ATTEMPT', 'TOOK', 'DETAIL'), rows)}"
    replies = [_reply_row(step) for step in run.steps if step.HasField("reply")]
    if replies:
        text += f"\n\n{table(('STEP', 'MODEL', 'ENDED WITH', 'TOKENS'), replies)}"
    return text


def result_text(run: workflow_pb2.WorkflowRun) -> str:
    """The results of the steps, and the rest of the context."""
    parts = [f"{one_line(run.run_id)}: {status_of_run(run.status).value}"]
    for step in run.steps:
        if step.result_json:
            value = result_of(step)
            text = value if isinstance(value, str) else _pretty(value)
            parts.append(f"{one_line(step.name)}:\n{_indented(text)}")
        elif error := error_of(step):
            parts.append(f"{one_line(step.name)}: {_status(step)}: {one_line(error)}")
    context = context_of(run)
    for step in run.steps:
        if step.result_json and context.get(f"{step.name}_result") == result_of(step):
            del context[f"{step.name}_result"]
    if context:
        parts.append(f"context:\n{_indented(_pretty(context))}")
    return "\n\n".join(parts)


def result_json(run: workflow_pb2.WorkflowRun) -> str:
    """The same for programs. Context and results are values, not the text of them that the contract has."""
    return json.dumps(
        {
            "run_id": run.run_id,
            "status": f"WORKFLOW_RUN_STATUS_{status_of_run(run.status).name}",
            "error": run.failure.message,
            "results": {step.name: result_of(step) for step in run.steps if step.result_json},
            "context": context_of(run),
        }
    )


def _step_row(step: workflow_pb2.StepRun) -> tuple[str, ...]:
    time = took(seconds_of(step.start_time), seconds_of(step.end_time))
    return one_line(step.name), _status(step), str(step.attempt), time or "-", _detail(step)


def _detail(step: workflow_pb2.StepRun) -> str:
    """The result of a step that completed; of another the progress that its handler reported, and what it waits for."""
    if step.status == workflow_pb2.STEP_STATUS_COMPLETED:
        return result_line(step.result_json, _LONGEST_CELL)
    progress = f"progress: {result_line(step.progress_json, _LONGEST_CELL)}" if step.progress_json else ""
    waits = f"waits for a worker of queue {step.queue}" if step.queue else error_of(step)
    return "; ".join(one_line(text, _LONGEST_CELL) for text in (progress, waits) if text)


def _reply_row(step: workflow_pb2.StepRun) -> tuple[str, ...]:
    facts = reply_facts(step.reply)
    model = f"{facts.provider}/{facts.model}" if facts.provider else facts.model or "-"
    tokens = _tokens(step.reply.usage) if facts.usage else "-"
    return one_line(step.name), one_line(model, _LONGEST_CELL), facts.finish_reason or "-", tokens


def _tokens(usage: agent_pb2.Usage) -> str:
    """Counts of tokens in words, such as `12 in, 30 out`; those that were reported."""
    counts = [(usage.HasField("input_tokens"), usage.input_tokens, "in")]
    counts.append((usage.HasField("output_tokens"), usage.output_tokens, "out"))
    return ", ".join(f"{count} {name}" for known, count, name in counts if known) or f"{usage.total_tokens} in all"


def _status(step: workflow_pb2.StepRun) -> str:
    return status_of_step(step.status).value.replace("_", " ")


def _moment(timestamp: Any) -> str:
    """In local time."""
    try:
        return datetime.fromtimestamp(seconds_of(timestamp)).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        raise wrong("a time that no calendar has") from None


def _pretty(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


def _indented(text: str) -> str:
    return "\n".join(f"  {line.translate(UNSAFE_IN_LINE)}" for line in text.splitlines())
