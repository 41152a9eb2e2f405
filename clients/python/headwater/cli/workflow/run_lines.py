"""A run as plain lines: one for each event, and what steps say in whole lines."""

from __future__ import annotations

import click
from google.protobuf.json_format import MessageToJson

from headwater._grpc.wrong_server import json_of
from headwater.cli.output import one_line
from headwater.cli.workflow.run_progress import RunProgress, StepProgress, took
from headwater.v1.workflow_pb2 import WorkflowEvent

_LONGEST_LINE = 1_000
_LONGEST_RESULT = 200


class JsonLines:
    """Each event as it is in the contract, one a line."""

    def show(self, event: WorkflowEvent) -> None:
        """Prints an event."""
        click.echo(MessageToJson(event, preserving_proto_field_name=True, indent=None))

    def close(self) -> None:
        """Nothing waits to be printed."""


class Lines:
    """Events in words.

    Args:
        progress: the run; it has not seen the event that is shown.
    """

    def __init__(self, progress: RunProgress) -> None:
        self._progress = progress
        self._unfinished: dict[str, str] = {}
        self._spoke: set[str] = set()

    def show(self, event: WorkflowEvent) -> None:
        """Takes an event in, and prints it."""
        self._progress.apply(event)
        kind = event.WhichOneof("event")
        if kind == "step_chunk":
            self._say(event)
        elif kind == "run_warning":
            text = event.run_warning.message
            click.echo(one_line(f"warning: {event.step}: {text}" if event.step else f"warning: {text}"))
        elif event.step:
            self._end_line(event.step)
            words = self._words(event, kind, self._progress.steps[event.step]) if kind else ""
            if words:
                click.echo(f"{one_line(event.step)}: {words}")
        elif kind == "run_resumed":
            self._unfinished.clear()
            click.echo("the run continues; the output of running steps is void")

    def close(self) -> None:
        """Prints what steps have said in a line that is not ended."""
        for step in list(self._unfinished):
            self._end_line(step)

    def _words(self, event: WorkflowEvent, kind: str, step: StepProgress) -> str:
        attempt = f", attempt {event.attempt}" if event.attempt > 1 else ""
        time = took(step.started, step.ended)
        after = f" after {time}" if time else ""
        match kind:
            case "step_started":
                self._spoke.discard(step.name)
                return f"started{attempt}"
            case "step_waiting":
                return f"waits for a worker of queue {one_line(step.queue)}{attempt}"
            case "step_progress":
                return f"progress: {result_line(step.reported, _LONGEST_RESULT)}"
            case "step_retrying":
                return f"attempt {event.attempt} failed: {one_line(step.error)}; again in {step.delay:g} s"
            case "step_completed":
                result = "" if step.name in self._spoke else f": {result_line(step.result, _LONGEST_RESULT)}"
                return f"completed{after}{result}"
            case "step_failed":
                return f"failed{after}: {one_line(step.error)}"
            case "step_skipped":
                return f"skipped: {one_line(step.error)}"
            case "step_cancelled":
                return "cancelled"
            case _:
                return ""

    def _say(self, event: WorkflowEvent) -> None:
        chunk = event.step_chunk
        if chunk.omitted_characters:
            self._print(event.step, f"({chunk.omitted_characters:,} characters are no longer kept)")
        if not chunk.content:
            return
        self._spoke.add(event.step)
        *whole, rest = (self._unfinished.get(event.step, "") + chunk.content).split("\n")
        for line in whole:
            self._print(event.step, line)
        while len(rest) > _LONGEST_LINE:
            self._print(event.step, rest[:_LONGEST_LINE])
            rest = rest[_LONGEST_LINE:]
        self._unfinished[event.step] = rest

    def _end_line(self, step: str) -> None:
        if rest := self._unfinished.pop(step, ""):
            self._print(step, rest)

    def _print(self, step: str, text: str) -> None:
        click.echo(f"{one_line(step)} | {one_line(text)}")


def result_line(result: str, longest: int) -> str:
    """A result (JSON text) in a line: text as it is, other values as JSON."""
    value = json_of("a result", result)
    return one_line(value if isinstance(value, str) else result, longest)
