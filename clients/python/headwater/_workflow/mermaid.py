"""A workflow as a Mermaid flowchart."""

from __future__ import annotations

from headwater._workflow.definition import Step, Workflow
from headwater._workflow.result import StepStatus, WorkflowResult

_STYLES = {
    StepStatus.PENDING: "fill:#eceff1,stroke:#90a4ae,color:#000",
    StepStatus.RUNNING: "fill:#bbdefb,stroke:#1976d2,color:#000",
    StepStatus.WAITING_FOR_WORKER: "fill:#e1bee7,stroke:#7b1fa2,color:#000",
    StepStatus.RETRYING: "fill:#ffe0b2,stroke:#f57c00,color:#000",
    StepStatus.COMPLETED: "fill:#c8e6c9,stroke:#388e3c,color:#000",
    StepStatus.FAILED: "fill:#ffcdd2,stroke:#d32f2f,color:#000",
    StepStatus.SKIPPED: "fill:#f5f5f5,stroke:#bdbdbd,color:#616161,stroke-dasharray:4",
    StepStatus.CANCELLED: "fill:#d7ccc8,stroke:#5d4037,color:#000",
}
# Mermaid reads these inside a quoted label; as entities they are only text. A backquote would begin Markdown.
_ENTITIES = {ord(character): f"#{ord(character)};" for character in '#"<>&`\\'}


def to_mermaid(workflow: Workflow, result: WorkflowResult | None = None) -> str:
    """The steps and how they depend on each other; with a result also how far each is, and its colour."""
    steps = workflow.steps
    ids = {step.name: f"s{index}" for index, step in reversed(list(enumerate(steps)))}
    lines = ["flowchart TD"]
    lines += [f"    s{index}{_node(step, result)}" for index, step in enumerate(steps)]
    lines += [
        f"    {ids[name]} --> s{index}" for index, step in enumerate(steps) for name in step.depends_on if name in ids
    ]
    if result is not None:
        lines += _classes(workflow, result)
    return "\n".join(lines)


def _node(step: Step, result: WorkflowResult | None) -> str:
    parts = [step.name]
    if step.condition:
        parts.append(f"if {step.condition}")
    state = result.get_step_result(step.name) if result is not None else None
    if state is not None:
        waits = f" ({state.queue})" if state.queue else ""
        took = f" {state.duration:.2f} s" if state.duration is not None else ""
        parts.append(state.status.value.replace("_", " ") + waits + took)
    label = "<br/>".join(" ".join(part.split()).translate(_ENTITIES) for part in parts)
    return f'{{{{"{label}"}}}}' if step.condition else f'["{label}"]'


def _classes(workflow: Workflow, result: WorkflowResult) -> list[str]:
    """Mermaid's class of each step, and the style of each class that is used."""
    members: dict[StepStatus, list[str]] = {}
    for index, step in enumerate(workflow.steps):
        state = result.get_step_result(step.name)
        if state is not None:
            members.setdefault(state.status, []).append(f"s{index}")
    lines = [f"    classDef {status.value} {_STYLES[status]}" for status in members]
    return lines + [f"    class {','.join(nodes)} {status.value}" for status, nodes in members.items()]
