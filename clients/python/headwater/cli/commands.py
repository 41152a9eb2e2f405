"""The commands of a client: stream, providers, models; `chat` has its module."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import click
from google.protobuf.json_format import MessageToJson

from headwater._grpc.server import resolve_server
from headwater._grpc.service import list_models, list_providers
from headwater.agent import Agent, Image
from headwater.cli.options import TEXT, server_options
from headwater.cli.output import Printer, closing_line, one_line, pictures_line, say, source_lines, table
from headwater.cli.process import read_input, wait_for
from headwater.cli.terminal import SignOfLife, faint, on_terminal
from headwater.exceptions import HeadwaterError

_LONGEST_NAME = 60


def asking(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options of every command that asks a model."""
    for option in (
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
@click.argument("prompt", type=TEXT)
@asking
@click.option("--json", "as_json", is_flag=True, help="Print one chunk a line, as JSON.")
def stream(prompt: str, as_json: bool, **settings: Any) -> None:
    """Ask once and print the reply as it comes; PROMPT - reads standard input.

    On a terminal a line on standard error closes it: tokens, tokens per second, time to the first token. Ctrl-C stops
    the provider's work too.
    """
    if prompt == "-":
        prompt = read_input()
    if not prompt.strip():
        raise click.UsageError("PROMPT is empty.")
    wait_for(_stream(Agent(**settings), prompt, as_json))


async def _stream(agent: Agent, prompt: str, as_json: bool) -> None:
    if as_json:
        async for chunk in agent.stream(prompt):
            click.echo(json.dumps(asdict(chunk), default=_base64))
        return
    await print_reply(agent, prompt)


def _base64(data: bytes) -> str:
    """Bytes of pictures and tokens as JSON has them."""
    return base64.b64encode(data).decode()


async def print_reply(agent: Agent, prompt: str) -> None:
    """Streams a reply to standard output; on a terminal with a sign of life before it, and a closing line.

    Standard error has which pictures came, and the sources that the provider names.
    """
    printer = Printer()
    images: list[Image] = []
    sign = SignOfLife(one_line(agent.model or agent.provider or "the server's default model", _LONGEST_NAME))
    naming = asyncio.create_task(_name(sign, agent)) if on_terminal() and not agent.model else None
    try:
        async for chunk in agent.stream(prompt):
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
    finally:
        sign.stop()
        printer.end()
        if naming is not None:
            naming.cancel()
            await asyncio.wait([naming])


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
    rows = [(f"{m.provider}/{m.name}", ", ".join(m.capabilities)) for m in answer.models]
    click.echo(table(("MODEL", "CAPABILITIES"), rows))
