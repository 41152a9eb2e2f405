"""A run as a live tree on a terminal.

A step stands under the last of the steps it waits for, and names the others. A run that is too deep for the width of
the terminal is a list. One with more steps than the terminal has lines shows those that are under way or failed, and
the number of the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from headwater._workflow.result import StepStatus
from headwater.cli.output import one_line
from headwater.cli.terminal import is_plain
from headwater.cli.workflow.run_lines import result_line
from headwater.cli.workflow.run_progress import ENDED, RunProgress, StepProgress, in_order, took
from headwater.v1.workflow_pb2 import WorkflowEvent

_REFRESH_SECONDS = 0.1
_LONGEST_NAME = 40
_LONGEST_DETAIL = 300
_INDENT = 4
_MOST_WARNINGS = 3
_STYLES = {
    StepStatus.PENDING: "dim",
    StepStatus.RUNNING: "cyan",
    StepStatus.WAITING_FOR_WORKER: "magenta",
    StepStatus.RETRYING: "yellow",
    StepStatus.COMPLETED: "green",
    StepStatus.FAILED: "bold red",
    StepStatus.SKIPPED: "dim",
    StepStatus.CANCELLED: "yellow",
}
_URGENT = (StepStatus.FAILED, StepStatus.RETRYING, StepStatus.WAITING_FOR_WORKER, StepStatus.RUNNING)


class LiveTree:
    """Shows a run while it is watched; use it as an async context manager. It draws on the running loop, no thread."""

    def __init__(self, progress: RunProgress) -> None:
        self._progress = progress
        self._warnings: list[str] = []
        self._console = Console(highlight=False, color_system=None if is_plain() else "auto")
        # Standard error that goes elsewhere must stay there.
        self._live = Live(
            get_renderable=self._draw, console=self._console, auto_refresh=False, vertical_overflow="crop",
            redirect_stdout=False, redirect_stderr=sys.stderr.isatty(),
        )  # fmt: skip

    async def __aenter__(self) -> Self:
        self._live.start()
        self._drawing = asyncio.create_task(self._keep_drawing(), name="headwater tree")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._drawing.cancel()
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await self._drawing
        finally:
            self._live.stop()

    def show(self, event: WorkflowEvent) -> None:
        """Takes an event in; it is drawn within a tenth of a second."""
        self._progress.apply(event)
        if event.WhichOneof("event") == "run_warning":
            self._warnings.append(one_line(f"warning: {event.step}: {event.run_warning.message}", _LONGEST_DETAIL))

    def close(self) -> None:
        """The last picture is drawn at the end of the context."""

    async def _keep_drawing(self) -> None:
        while True:
            self._live.refresh()
            await asyncio.sleep(_REFRESH_SECONDS)

    def _draw(self) -> RenderableType:
        warnings = self._warnings[-_MOST_WARNINGS:]
        size = self._console.size
        picture = draw(self._progress, time.time(), size.width, size.height - len(warnings))
        return Group(picture, *(_line(warning, "yellow") for warning in warnings))


def draw(progress: RunProgress, now: float, width: int, height: int) -> RenderableType:
    """A run as it is, in less than `height` lines."""
    room = max(height - 3, 1)
    return Group(_head(progress, now), _steps(progress, now, width, room))


def _head(progress: RunProgress, now: float) -> RenderableType:
    status = progress.status or StepStatus.RUNNING
    total, done = len(progress.steps), progress.count(*ENDED)
    facts = Text.assemble(
        (one_line(progress.name, _LONGEST_NAME), "bold"),
        "  ",
        (status.value, _STYLES[status]),
        f"  {done} of {total} steps  {took(progress.started, progress.ended or now)}",
        no_wrap=True,
        overflow="ellipsis",
    )
    grid = Table.grid(padding=(0, 2))
    grid.add_row(facts, ProgressBar(total=max(total, 1), completed=done, width=20))
    return grid


def _steps(progress: RunProgress, now: float, width: int, room: int) -> RenderableType:
    steps = progress.steps.values()
    if len(steps) > room:
        return _most_urgent(list(steps), now, width, room)
    if max((step.depth for step in steps), default=0) * _INDENT > width // 2:
        return Group(*(_row(step, now, width) for step in steps))
    root = Tree("", hide_root=True, guide_style="dim")
    branches: dict[str, Tree] = {}
    for step in in_order(steps):
        parents = [progress.steps[name] for name in step.depends_on if name in progress.steps]
        parent = max(reversed(parents), key=lambda other: other.depth, default=None)
        others = [other.name for other in parents if other is not parent]
        branch = branches[parent.name] if parent else root
        branches[step.name] = branch.add(_row(step, now, width - step.depth * _INDENT, others))
    return root


def _most_urgent(steps: list[StepProgress], now: float, width: int, room: int) -> RenderableType:
    urgent = [step for status in _URGENT for step in steps if step.status is status][: room - 1]
    counts = Counter(step.status for step in steps)
    for step in urgent:
        counts[step.status] -= 1
    others = ", ".join(f"{counts[status]} {_words(status)}" for status in StepStatus if counts[status])
    rows = [_row(step, now, width) for step in urgent]
    return Group(*rows, _line(f"{'and ' if urgent else ''}{others}", "dim")) if others else Group(*rows)


def _row(step: StepProgress, now: float, width: int, also_after: Sequence[str] = ()) -> Text:
    ended = step.ended or (now if step.status is StepStatus.RUNNING else 0.0)
    row = Text.assemble(
        (one_line(step.name, _LONGEST_NAME), "bold"),
        "  ",
        (_words(step.status), _STYLES[step.status]),
        no_wrap=True,
        overflow="ellipsis",
    )
    for fact in (took(step.started, ended), f"attempt {step.attempt}" if step.attempt > 1 else ""):
        if fact:
            row.append(f"  {fact}")
    if also_after:
        row.append(f"  (also after {one_line(', '.join(also_after), _LONGEST_NAME)})", "dim")
    if detail := _detail(step, width - row.cell_len - 2):
        row.append(f"  {detail}", "red" if step.status is StepStatus.FAILED else "dim")
    return row


def _detail(step: StepProgress, room: int) -> str:
    """A line with the facts of a step beside its status; of its output, the end."""
    match step.status:
        case StepStatus.WAITING_FOR_WORKER:
            return f"queue {one_line(step.queue, _LONGEST_NAME)}"
        case StepStatus.RETRYING:
            return f"again in {step.delay:g} s: {one_line(step.error, _LONGEST_DETAIL)}"
        case StepStatus.COMPLETED:
            return result_line(step.result, _LONGEST_DETAIL)
        case StepStatus.RUNNING:
            lines = [line for line in (step.tail or step.thinking).splitlines() if line.strip()]
            line = one_line(lines[-1]) if lines else result_line(step.reported, _LONGEST_DETAIL)
            return _end_of(line, room)
        case _:
            return one_line(step.error, _LONGEST_DETAIL)


def _end_of(line: str, room: int) -> str:
    """The end of a line, in so many cells of the terminal."""
    if cell_len(line) <= room:
        return line
    cells, start = 1, len(line)
    while start and (cells := cells + cell_len(line[start - 1])) <= room:
        start -= 1
    return f"…{line[start:]}"


def _words(status: StepStatus) -> str:
    return status.value.replace("_", " ")


def _line(text: str, style: str) -> Text:
    return Text(text, style, no_wrap=True, overflow="ellipsis")
