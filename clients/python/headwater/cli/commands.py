"""The commands of a client: stream, providers, models; `chat` has its module."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import click
from google.protobuf.json_format import MessageToJson

from headwater._call.resumed import resumed
from headwater._call.stream import AgentStream
from headwater._grpc.server import resolve_server
from headwater._grpc.service import list_models, list_providers
from headwater.agent import Agent, Image
from headwater.cli.options import TEXT, server_options
from headwater.cli.output import Printer, closing_line, one_line, pictures_line, say, source_lines, table
from headwater.cli.process import read_input, wait_for
from headwater.cli.terminal import SignOfLife, faint, on_terminal
from headwater.exceptions import HeadwaterError, StreamInterruptedError

_LONGEST_NAME = 60


def asking(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options of every command that asks a model."""
    for option in (
        click.option(
            "--max-attempts", type=click.IntRange(1, 10), help="How often providers are asked until a reply begins."
        ),
        click.option(
            "--fallback",
            "fallback_models",
            type=TEXT,
            multiple=True,
            metavar="MODEL",
            help="Asked when the model fails before the first word; may be given several times.",
        ),
        click.option("--timeout", type=float, metavar="SECONDS", help="Most time for the whole reply."),
        click.option("--max-tokens", type=int, help="Most tokens of the reply."),
        click.option("--temperature", type=float, help="0 to 2."),
        click.option("-i", "--instructions", type=TEXT, default="", help="The system prompt, before the conversation."),
        click.option("-p", "--provider", type=TEXT, help="A provider of the server; see `headwater providers`."),
        click.option(
            "-m", "--model", type=TEXT, help="Such as gpt-4o-mini or ollama/llama3.2; see `headwater models`."
        ),
    ):
        command = option(command)
    return server_options(command)


@click.command()
@click.argument("prompt", type=TEXT, required=False)
@asking
@click.option("--json", "as_json", is_flag=True, help="Print one chunk a line, as JSON.")
@click.option("--resume", "stream_id", type=TEXT, metavar="ID", help="A stream to read on; see `headwater streams`.")
@click.option(
    "--after", type=click.IntRange(0), default=0, help="With --resume: the sequence of the last chunk that came."
)
def stream(prompt: str | None, as_json: bool, stream_id: str | None, after: int, **settings: Any) -> None:
    """Ask once and print the reply as it comes; PROMPT - reads standard input.

    On a terminal a line on standard error closes it: tokens, tokens per second, time to the first token. Ctrl-C stops
    the provider's work too. With --resume it prints a reply that was asked for before, from its begin or --after a
    chunk.
    """
    if stream_id is not None:
        _refuse_questions(prompt, settings)
        server = resolve_server(settings["target"], settings["token"])
        rest = resumed(server, stream_id, after, settings["timeout"])
        wait_for(_print_chunks(rest) if as_json else _print_rest(rest, stream_id, settings["target"]))
        return
    if after:
        raise click.UsageError("--after needs --resume.")
    if prompt is None:
        raise click.UsageError("Missing argument 'PROMPT'.")
    if prompt == "-":
        prompt = read_input()
    if not prompt.strip():
        raise click.UsageError("PROMPT is empty.")
    agent = agent_of(settings)
    wait_for(_print_chunks(agent.stream(prompt)) if as_json else print_reply(agent, prompt))


def agent_of(settings: Mapping[str, Any]) -> Agent:
    """The agent that the options of `asking` describe."""
    return Agent(**{**settings, "fallback_models": settings["fallback_models"] or None})


def _refuse_questions(prompt: str | None, settings: Mapping[str, Any]) -> None:
    """Raises UsageError for a question, and options of one, beside --resume."""
    options = {name: value for name, value in settings.items() if name not in ("target", "token", "timeout")}
    options["fallback"] = options.pop("fallback_models")
    given = ["PROMPT"] * (prompt is not None) + [
        f"--{name.replace('_', '-')}" for name, value in options.items() if value
    ]
    if given:
        raise click.UsageError(f"--resume reads a reply that was asked for before: leave {', '.join(given)} out.")


async def _print_chunks(stream: AgentStream) -> None:
    async for chunk in stream:
        click.echo(json.dumps(asdict(chunk), default=_base64))


def _base64(data: bytes) -> str:
    """Bytes of pictures and tokens as JSON has them."""
    return base64.b64encode(data).decode()


async def print_reply(agent: Agent, prompt: str) -> None:
    """Streams a reply to standard output; on a terminal with a sign of life before it, and a closing line.

    Standard error has which pictures came, and the sources that the provider names.
    """
    sign = SignOfLife(one_line(agent.model or agent.provider or "the server's default model", _LONGEST_NAME))
    naming = asyncio.create_task(_name(sign, agent)) if on_terminal() and not agent.model else None
    try:
        await _print(agent.stream(prompt), sign, agent.target)
    finally:
        if naming is not None:
            naming.cancel()
            await asyncio.wait([naming])


async def _print_rest(stream: AgentStream, stream_id: str, target: str | None) -> None:
    """As `print_reply`, for a reply that is resumed."""
    await _print(stream, SignOfLife(one_line(stream_id, _LONGEST_NAME)), target)


async def _print(stream: AgentStream, sign: SignOfLife, target: str | None) -> None:
    printer = Printer()
    images: list[Image] = []
    sequence = 0
    try:
        async for chunk in stream:
            sequence = chunk.metadata.get("sequence", 0) or sequence
            if text := chunk.content or chunk.metadata.get("refusal", ""):
                sign.stop()
                printer.write(text)
            images += chunk.images
            if chunk.is_final:
                sign.stop()
                printer.end()
                if images:
                    say(pictures_line(images))
                for line in source_lines(chunk.metadata.get("citations", ())):
                    say(line)
                if sys.stdout.isatty():
                    say(closing_line(chunk.metadata), faint)
    except StreamInterruptedError as error:
        # After a timeout the client has ended the stream, so there is no rest.
        lost = error.reason is None and not isinstance(error, TimeoutError)
        if lost and stream.stream_id:
            sign.stop()
            printer.end()
            at = f" --target {shlex.quote(one_line(target))}" if target else ""
            say(f"the rest: headwater stream --resume {one_line(stream.stream_id)} --after {sequence}{at}")
        raise
    finally:
        sign.stop()
        printer.end()


async def _name(sign: SignOfLife, agent: Agent) -> None:
    """Shows the model that answers when none was named."""
    with contextlib.suppress(HeadwaterError):  # the reply fails for the same reason, and reports it
        found = await agent.aget_provider_info()
        sign.name = one_line(f"{found['provider']}/{found['model'] or 'default'}", _LONGEST_NAME)


@click.command()
@server_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def providers(as_json: bool, target: str | None, token: str | None) -> None:
    """List the providers that the server has, and which answers when none is named."""
    answer = wait_for(list_providers(resolve_server(target, token)))
    if as_json:
        click.echo(MessageToJson(answer, preserving_proto_field_name=True, indent=None))
        return
    default = answer.default_provider
    rows = [(p.name, p.type, p.default_model or "-", "*" if p.name == default else "") for p in answer.providers]
    click.echo(table(("PROVIDER", "TYPE", "DEFAULT MODEL", "DEFAULT"), rows))


@click.command()
@click.argument("provider", type=TEXT, default="")
@server_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def models(provider: str, as_json: bool, target: str | None, token: str | None) -> None:
    """List the models of PROVIDER, or of the server's default provider."""
    answer = wait_for(list_models(resolve_server(target, token), provider))
    if as_json:
        click.echo(MessageToJson(answer, preserving_proto_field_name=True, indent=None))
        return
    rows = [
        (f"{m.provider}/{m.name}" if m.provider else m.name, ", ".join(m.capabilities or m.targets))
        for m in answer.models
    ]
    click.echo(table(("MODEL", "CAPABILITIES"), rows))
