"""The commands `headwater workflow ...`.

Packages beyond click are imported when one of them runs, so that `headwater --help` stays fast.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from headwater.cli.group import Group
from headwater.cli.options import TEXT, context_json, server_options, since
from headwater.cli.output import one_line
from headwater.cli.process import wait_for
from headwater.cli.workflow import sources

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from headwater._grpc.server import Server
    from headwater.cli.workflow.file import WorkflowFile
    from headwater.cli.workflow.watching import Watch
    from headwater.v1 import workflow_pb2

Command = TypeVar("Command", bound=Callable[..., Any])

HAS_MISTAKES = 1
_STATUSES = ("running", "completed", "failed", "cancelled")
_CANCEL_SECONDS = 120.0

EPILOG = """\b
run, watch, resume and result end with the code of the run:
  0  it completed        9  it was cancelled
  1  a step failed      10  it has not ended
130  Ctrl-C: you have left, the run continues
"""


@click.group(cls=Group, epilog=EPILOG)
def workflow() -> None:
    """Run workflows, and look after their runs.

    FILE is a workflow in YAML: the message headwater.v1.Workflow, field for field; - is standard input.
    """


def _json_option(command: Command) -> Command:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, with the names of the contract.")(command)


def _file(command: Command) -> Command:
    """The argument FILE and the queue of its handlers."""
    command = click.option("--queue", type=TEXT, default="", help="The queue whose workers have the handlers.")(command)
    return click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))(command)


def _context(command: Command) -> Command:
    return click.option(
        "--context", "context", type=TEXT, multiple=True, metavar="KEY=VALUE", callback=context_json,
        help="A value that the run begins with: JSON, or else text. Repeat it for more.",
    )(command)  # fmt: skip


def _request_id(command: Command) -> Command:
    return click.option(
        "--request-id", type=TEXT, help="Id of this request: the same request under the same id starts one run.",
    )(command)  # fmt: skip


@workflow.command()
@_file
@_context
@_request_id
@_json_option
@server_options
def run(
    file: str,
    queue: str,
    context: str,
    request_id: str | None,
    as_json: bool,
    target: str | None,
    token: str | None,
) -> None:
    """Run a workflow and watch it.

    The first line is the id of the run. Ctrl-C stops watching and says how to watch again and how to cancel; the run
    continues.
    """
    source = sources.read(file)
    watch, server = _watch(target, token, as_json)

    async def start_and_follow() -> int:
        from headwater.cli.workflow.run_progress import RunProgress

        watch.run_id = await _start(server, source, file, queue, context, request_id)
        if not as_json:
            click.echo(watch.run_id)
        return await watch.follow(RunProgress.of(watch.run_id, source.workflow), 0, patient=True)

    watch.run(start_and_follow())


@workflow.command()
@_file
@_context
@_request_id
@_json_option
@server_options
def start(
    file: str,
    queue: str,
    context: str,
    request_id: str | None,
    as_json: bool,
    target: str | None,
    token: str | None,
) -> None:
    """Start a run and print its id."""
    source = sources.read(file)
    run_id = wait_for(_start(_server(target, token), source, file, queue, context, request_id))
    from headwater.v1.workflow_service_pb2 import StartWorkflowRunResponse

    _print(StartWorkflowRunResponse(run_id=run_id), as_json, run_id)


@workflow.command()
@click.argument("run_id", type=TEXT, metavar="ID")
@click.option("--after", type=click.IntRange(0, 2**31 - 1), default=0, help="Only events after this sequence.")
@_json_option
@server_options
def watch(run_id: str, after: int, as_json: bool, target: str | None, token: str | None) -> None:
    """Watch a run to its end, from its first event."""
    watch, server = _watch(target, token, as_json)
    watch.run_id = run_id

    async def follow() -> int:
        from headwater._workflow.service import get_run
        from headwater.cli.workflow.run_progress import RunProgress

        found = await get_run(server, run_id)
        progress = RunProgress.of(run_id, found.workflow)
        if after:
            progress.take_over(found)
        return await watch.follow(progress, after, patient=True)

    watch.run(follow())


@workflow.command()
@click.argument("run_id", type=TEXT, metavar="ID")
@_json_option
@server_options
def resume(run_id: str, as_json: bool, target: str | None, token: str | None) -> None:
    """Resume a run that failed or was cancelled, and watch it.

    Steps that have completed keep their results.
    """
    watch, server = _watch(target, token, as_json)

    async def resume_and_follow() -> int:
        from headwater._workflow.service import get_run, resume_run
        from headwater.cli.workflow.run_progress import RunProgress

        after = await resume_run(server, run_id)
        watch.run_id = run_id
        found = await get_run(server, run_id)
        progress = RunProgress.of(run_id, found.workflow)
        progress.take_over(found)
        return await watch.follow(progress, after, patient=True)

    watch.run(resume_and_follow())


@workflow.command()
@click.argument("run_id", type=TEXT, metavar="ID")
@_json_option
@server_options
def result(run_id: str, as_json: bool, target: str | None, token: str | None) -> None:
    """Print the results of the steps and the context."""
    found = _get(run_id, target, token)
    from headwater._workflow.result import status_of_run
    from headwater.cli.workflow import reports
    from headwater.cli.workflow.watching import EXIT_CODES

    click.echo(reports.result_json(found) if as_json else reports.result_text(found))
    sys.exit(EXIT_CODES.get(status_of_run(found.status), 1))


@workflow.command()
@_file
@_json_option
@server_options
def validate(file: str, queue: str, as_json: bool, target: str | None, token: str | None) -> None:
    """Name every mistake of a workflow, and joins that a skip would silence, one a line."""
    from headwater._workflow.service import validate as ask
    from headwater.v1.workflow_service_pb2 import ValidateWorkflowResponse, WorkflowViolation

    try:
        source = sources.parse(file)
        found = wait_for(ask(_server(target, token), source.workflow, queue))
        mistakes, warnings = (
            source.locate((entry.field, entry.description) for entry in entries)
            for entries in (found.violations, found.warnings)
        )
    except sources.file_reader().WorkflowFileError as error:
        mistakes, warnings = error.mistakes, []
        paths = [f"workflow.{m.field}" if m.field else "workflow" for m in mistakes]
        violations = [WorkflowViolation(field=p, description=m.text) for p, m in zip(paths, mistakes, strict=True)]
        found = ValidateWorkflowResponse(violations=violations)
    lines = sources.mistake_lines(file, mistakes) or [f"{sources.shown(file)}: no mistakes"]
    lines += sources.mistake_lines(file, warnings, "warning")
    _print(found, as_json, "\n".join(lines))
    if mistakes:
        sys.exit(HAS_MISTAKES)


@workflow.command("list")
@click.option("--status", type=click.Choice(_STATUSES), help="Only runs of this status.")
@click.option("--workflow", "name", type=TEXT, default="", help="Only runs of workflows with this name.")
@click.option(
    "--since", type=TEXT, callback=since, metavar="TIME",
    help="Only runs since then: 45s, 30m, 2h, 3d, 1w, or ISO 8601.",
)  # fmt: skip
@click.option(
    "--limit", type=click.IntRange(1, 100_000), default=20, show_default=True, help="Most runs, newest first."
)
@_json_option
@server_options
def list_(
    status: str | None,
    name: str,
    since: datetime | None,
    limit: int,
    as_json: bool,
    target: str | None,
    token: str | None,
) -> None:
    """List runs, newest first."""
    from headwater.cli.workflow import reports
    from headwater.cli.workflow.runs import list_runs

    found = wait_for(list_runs(_server(target, token), status, name, since, limit))
    _print(found, as_json, reports.run_table(found.runs))


@workflow.command()
@click.argument("run_id", type=TEXT, metavar="ID")
@_json_option
@server_options
def show(run_id: str, as_json: bool, target: str | None, token: str | None) -> None:
    """Show how far a run and its steps are."""
    from headwater.cli.workflow import reports

    found = _get(run_id, target, token)
    _print(found, as_json, reports.run_text(found))


@workflow.command()
@click.argument("run_id", type=TEXT, metavar="ID")
@_json_option
@server_options
def cancel(run_id: str, as_json: bool, target: str | None, token: str | None) -> None:
    """Cancel a run; running steps are interrupted."""
    from headwater._workflow.service import cancel_run
    from headwater.v1 import workflow_pb2

    wait_for(cancel_run(_server(target, token), run_id, _CANCEL_SECONDS))
    done = workflow_pb2.WorkflowRun(run_id=run_id, status=workflow_pb2.WORKFLOW_RUN_STATUS_CANCELLED)
    _print(done, as_json, f"{one_line(run_id)} is cancelled")


@workflow.command()
@click.argument("run_id", type=TEXT, metavar="ID")
@server_options
def delete(run_id: str, target: str | None, token: str | None) -> None:
    """Delete a run that has ended, with its results and events."""
    from headwater._workflow.service import delete_run

    wait_for(delete_run(_server(target, token), run_id))
    click.echo(f"{one_line(run_id)} is deleted")


def _server(target: str | None, token: str | None) -> Server:
    from headwater._grpc.server import resolve_server

    return resolve_server(target, token)


def _watch(target: str | None, token: str | None, as_json: bool) -> tuple[Watch, Server]:
    from headwater.cli.workflow.watching import Watch

    server = _server(target, token)
    return Watch(server, target, as_json), server


def _get(run_id: str, target: str | None, token: str | None) -> workflow_pb2.WorkflowRun:
    from headwater._workflow.service import get_run

    return wait_for(get_run(_server(target, token), run_id))


async def _start(
    server: Server, source: WorkflowFile, file: str, queue: str, context: str, request_id: str | None
) -> str:
    """The id of a new run; mistakes that the server finds end the process."""
    from headwater._workflow.service import start_run
    from headwater.exceptions import WorkflowValidationError
    from headwater.v1.workflow_service_pb2 import StartWorkflowRunRequest

    request = StartWorkflowRunRequest(
        workflow=source.workflow, context_json=context, queue=queue, request_id=request_id or str(uuid.uuid4())
    )
    try:
        return await start_run(server, request)
    except WorkflowValidationError as error:
        if not error.violations:
            raise
        sources.refuse(file, source.locate(error.violations))


def _print(message: Message, as_json: bool, text: str) -> None:
    if as_json:
        from google.protobuf.json_format import MessageToJson

        text = MessageToJson(
            message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True, indent=None
        )
    click.echo(text)
