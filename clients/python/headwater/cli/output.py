"""Output to a terminal, or to a pipe."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

# A reply is somebody else's text: on a terminal it must not move the cursor, change the title or worse.
_UNSAFE = {
    code: "\N{REPLACEMENT CHARACTER}" for code in (*range(0x20), 0x7F, *range(0x80, 0xA0)) if chr(code) not in "\n\t\r"
}
# In a line with other words, text must not turn the direction of those either.
_TURNS = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
UNSAFE_IN_LINE = _UNSAFE | dict.fromkeys(_TURNS, "\N{REPLACEMENT CHARACTER}")


class Printer:
    """Writes a reply as it comes, and ends it with one line feed."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._last = "\n"

    def write(self, text: str) -> None:
        """Writes a piece at once; on a terminal without control characters."""
        if text:
            self._last = text[-1]
            sys.stdout.write(text.translate(_UNSAFE) if self._terminal else text)
            sys.stdout.flush()

    def end(self) -> None:
        """Ends the reply's last line, if it is not ended."""
        if self._last != "\n":
            self.write("\n")


def one_line(text: str, longest: int | None = None) -> str:
    """Somebody else's text in one line, without control characters; cut to `longest` characters."""
    line = " ".join(text.split()).translate(UNSAFE_IN_LINE)
    return line if longest is None or len(line) <= longest else line[: longest - 1] + "…"


def fail(message: str, code: int) -> NoReturn:
    """Ends the process with a line on standard error."""
    click.echo(f"headwater: {one_line(message)}", err=True)
    sys.exit(code)


def closing_line(metadata: dict[str, Any]) -> str:
    """The facts of a final chunk about its stream, in a line."""
    usage, stats = metadata.get("usage", {}), metadata.get("stats", {})
    facts = []
    if "output_tokens" in usage:
        count = usage["output_tokens"]
        facts.append(f"{count} token{'' if count == 1 else 's'}")
    if "tokens_per_second" in stats:
        facts.append(f"{stats['tokens_per_second']:.1f} tokens/s")
    if "time_to_first_token" in stats:
        facts.append(f"first token after {stats['time_to_first_token']:.3f} s")
    facts.append(f"{stats.get('duration', 0.0):.2f} s in all")
    if metadata.get("finish_reason") != "stop":
        facts.append(f"ended by {metadata.get('finish_reason')}")
    return " · ".join(facts)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows in columns."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (heads, *rows))
    return "\n".join(line.rstrip() for line in lines)
