"""`headwater top`: the state of a server, again and again."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Iterator

import click
from google.protobuf.json_format import MessageToJson

from headwater._grpc.server import Server, resolve_server
from headwater._grpc.service import get_server_status
from headwater.cli.options import server_options
from headwater.cli.output import one_line, table
from headwater.cli.process import wait_for
from headwater.cli.terminal import is_dumb, is_plain, width
from headwater.cli.top.rates import View, view
from headwater.cli.wrapping import Wrapper, cut
from headwater.v1.operator_service_pb2 import GetServerStatusResponse


@click.command()
@server_options
@click.option(
    "--interval", type=click.FloatRange(0.2, 3600), default=1.0, show_default=True, help="Seconds between two readings."
)
@click.option("--once", is_flag=True, help="Print one view, with the rates of one interval, and end.")
@click.option("--json", "as_json", is_flag=True, help="Print one answer a line, as JSON: totals, no rates.")
def top(interval: float, once: bool, as_json: bool, target: str | None, token: str | None) -> None:
    """Show what the server does: processes, models, queues and workers, over all of its processes.

    On a terminal the view is renewed in place until Ctrl-C; elsewhere each view follows the one before, after an empty
    line. CHUNKS/S counts the replies that come now, TOKENS/S those that have ended: providers count tokens at the end.
    LAG is the longest time for which the event loop was held in ten seconds. The other numbers count from the start of
    each process. Needs the scope `operator` where the server has callers.
    """
    server = resolve_server(target, token)
    with contextlib.suppress(KeyboardInterrupt):
        wait_for(_print_json(server, interval, once) if as_json else _show(server, interval, once))


async def _readings(server: Server, interval: float) -> AsyncIterator[GetServerStatusResponse]:
    """The state now, and after each interval. Raises HeadwaterError."""
    while True:
        yield await get_server_status(server)
        await asyncio.sleep(interval)


async def _print_json(server: Server, interval: float, once: bool) -> None:
    async with contextlib.aclosing(_readings(server, interval)) as readings:  # type: ignore[type-var]
        async for status in readings:
            click.echo(
                MessageToJson(
                    status, preserving_proto_field_name=True, indent=None, always_print_fields_with_no_presence=True
                )
            )
            if once:
                return


async def _show(server: Server, interval: float, once: bool) -> None:
    before: GetServerStatusResponse | None = None
    with _screen(live=not once) as show:
        async with contextlib.aclosing(_readings(server, interval)) as readings:  # type: ignore[type-var]
            async for status in readings:
                if before is not None or not once:
                    show(view(status, before))
                if before is not None and once:
                    return
                before = status


@contextlib.contextmanager
def _screen(*, live: bool) -> Iterator[Callable[[View], None]]:
    """Gives the function that shows a view: in place of the one before on a terminal, below it elsewhere."""
    if not (live and sys.stdout.isatty() and not is_dumb()):
        shown: list[View] = []

        def print_view(now: View) -> None:
            click.echo(("\n" if shown else "") + text_of(now))
            shown[:] = [now]

        yield print_view
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(no_color=is_plain(), highlight=False)
    with Live(console=console, auto_refresh=False, screen=True, vertical_overflow="crop") as screen:

        def renew(now: View) -> None:
            lines = text_of(now).split("\n")[: max(console.height - 1, 1)]
            screen.update(Text("\n".join(cut(line, width()) for line in lines), no_wrap=True), refresh=True)

        yield renew


def text_of(now: View) -> str:
    """The view as lines that fit the width of a terminal."""
    title = now.title
    if sys.stdout.isatty():
        lines = Wrapper(width)
        title = lines.add(title) + lines.end()
    parts = [one_line(title) if "\n" not in title else title]
    parts += [table(section.heads, section.rows) for section in now.sections]
    return "\n\n".join(part.replace("\N{NO-BREAK SPACE}", " ") for part in parts)
