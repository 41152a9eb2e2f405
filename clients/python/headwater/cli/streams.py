"""The commands about streams that a server has: streams, cancel."""

from __future__ import annotations

from datetime import datetime

import click
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message

from headwater._grpc.server import resolve_server
from headwater._grpc.service import cancel_stream, list_streams
from headwater.cli.options import TEXT, server_options
from headwater.cli.output import one_line, table
from headwater.cli.process import wait_for
from headwater.v1 import agent_service_pb2

_STATE_PREFIX = "STREAM_STATE_"


@click.command()
@server_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def streams(as_json: bool, target: str | None, token: str | None) -> None:
    """List the streams of the server, oldest first: those that run, and those that ended and can be resumed.

    A stream that is `detached` runs without a reader. CHUNK is the sequence of its last chunk so far.
    """
    answer = wait_for(list_streams(resolve_server(target, token)))
    if as_json:
        click.echo(_as_json(answer))
        return
    heads = ("STREAM", "STATE", "MODEL", "STARTED", "CHUNK", "RESUMABLE")
    click.echo(table(heads, [_row(stream) for stream in answer.streams], flexible=(2,)))


@click.command()
@click.argument("stream_id", type=TEXT, metavar="ID")
@server_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def cancel(stream_id: str, as_json: bool, target: str | None, token: str | None) -> None:
    """End the stream ID for all of its readers; the provider's work ends too."""
    done = wait_for(cancel_stream(resolve_server(target, token), stream_id))
    click.echo(_as_json(done) if as_json else f"{one_line(stream_id)} is cancelled")


def _as_json(message: Message) -> str:
    return MessageToJson(message, preserving_proto_field_name=True, indent=None)


def _row(stream: agent_service_pb2.StreamInfo) -> tuple[str, ...]:
    states = agent_service_pb2.StreamState.DESCRIPTOR.values_by_number
    state = states[stream.state].name if stream.state in states else str(stream.state)
    started = datetime.fromtimestamp(stream.create_time.ToSeconds()).astimezone()
    return (
        stream.stream_id,
        state.removeprefix(_STATE_PREFIX).lower(),
        f"{stream.provider}/{stream.model}",
        f"{started:%Y-%m-%d %H:%M:%S}",
        str(stream.last_sequence),
        "yes" if stream.resumable else "no",
    )
