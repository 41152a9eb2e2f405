"""Watching a run to its end, and what that end is to a shell."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Coroutine
from contextlib import aclosing
from typing import Any, NoReturn, Protocol

import click

from headwater._grpc.server import Server
from headwater._workflow.result import StepStatus, status_of_run
from headwater._workflow.watch import RunWatch
from headwater.cli.output import fail, one_line
from headwater.cli.process import wait_for
from headwater.cli.workflow.run_lines import JsonLines, Lines
from headwater.cli.workflow.run_progress import RunProgress, took
from headwater.v1.workflow_pb2 import WorkflowEvent

EXIT_CODES = {StepStatus.COMPLETED: 0, StepStatus.FAILED: 1, StepStatus.CANCELLED: 9, StepStatus.RUNNING: 10}
DETACHED = 130


class Display(Protocol):
    """Where events go."""

    def show(self, event: WorkflowEvent) -> None:
        """Shows an event."""

    def close(self) -> None:
        """Shows what is still to be shown."""


class Watch:
    """One run that a command watches.

    Args:
        server: where it is.
        target: the option `--target`, for the commands that are named to the user.
        as_json: print events as JSON.

    Attributes:
        run_id: which run; empty until it is known.
    """

    def __init__(self, server: Server, target: str | None, as_json: bool) -> None:
        self.run_id = ""
        self._server = server
        self._target = target
        self._as_json = as_json

    def run(self, command: Coroutine[Any, Any, int]) -> NoReturn:
        """Runs a command that watches, and ends the process with its code; Ctrl-C leaves the run as it is."""
        try:
            code = wait_for(command)
        except KeyboardInterrupt:
            if not self.run_id:
                raise
            self._detached()
        sys.exit(code)

    async def follow(self, progress: RunProgress, after: int, *, patient: bool) -> int:
        """Shows the run to its end; the exit code. Raises HeadwaterError."""
        if self._as_json:
            await self._show(JsonLines(), progress, after, patient)
        elif sys.stdout.isatty() and _can_move_its_cursor():
            from headwater.cli.workflow.run_tree import LiveTree

            async with LiveTree(progress) as tree:
                await self._show(tree, progress, after, patient)
        else:
            await self._show(Lines(progress), progress, after, patient)
        if not self._as_json:
            self._say_the_end(progress)
        return EXIT_CODES.get(progress.status or StepStatus.RUNNING, 1)

    async def _show(self, display: Display, progress: RunProgress, after: int, patient: bool) -> None:
        advice = f"{self.run_id} continues when the server is back; {self._command('watch')}"
        watch = RunWatch(self._server, self.run_id, lambda e: e, after, patient=patient, advice=advice, note=_note)
        try:
            async with aclosing(watch):
                async for event in watch:
                    if self._as_json:
                        _remember_end(progress, event)
                    display.show(event)
        finally:
            display.close()
        if watch.run is not None and progress.status in (None, StepStatus.RUNNING):
            progress.status, progress.error = status_of_run(watch.run.status), watch.run.failure.message

    def _say_the_end(self, progress: RunProgress) -> None:
        status = progress.status or StepStatus.RUNNING
        time = took(progress.started, progress.ended)
        reason = f": {one_line(progress.error)}" if progress.error else ""
        click.echo(f"{self.run_id} {_verb(status)}{f' after {time}' if time else ''}{reason}")
        if status in (StepStatus.FAILED, StepStatus.CANCELLED):
            click.echo(f"to continue from there:\n  {self._command('resume')}", err=True)

    def _detached(self) -> NoReturn:
        """Says what becomes of a run that is left, and ends the process."""
        click.echo(f"\n{self.run_id} continues; to watch or cancel it:", err=True)
        click.echo(f"  {self._command('watch')}", err=True)
        click.echo(f"  {self._command('cancel')}", err=True)
        sys.exit(DETACHED)

    def _command(self, name: str) -> str:
        target = f" --target {shlex.quote(self._target)}" if self._target else ""
        return f"headwater workflow {name} {shlex.quote(self.run_id)}{target}"


def _remember_end(progress: RunProgress, event: WorkflowEvent) -> None:
    if event.WhichOneof("event") in ("run_finished", "run_resumed"):
        progress.apply(event)


def _can_move_its_cursor() -> bool:
    try:
        from rich.console import Console
    except ModuleNotFoundError:
        fail("the live tree needs rich: pip install rich", 1)
    return not Console().is_dumb_terminal


def _note(text: str) -> None:
    print(f"headwater: {one_line(text)}", file=sys.stderr, flush=True)


def _verb(status: StepStatus) -> str:
    return {
        StepStatus.COMPLETED: "completed", StepStatus.FAILED: "failed", StepStatus.CANCELLED: "was cancelled",
    }.get(status, "has not ended")  # fmt: skip
