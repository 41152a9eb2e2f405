"""Output to a terminal, or to a pipe."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import click

from headwater._values.images import Image
from headwater.cli.terminal import width
from headwater.cli.wrapping import Wrapper, columns_of, cut

WRONG_USAGE = 2
"""The exit code of a command that was not written as it must be."""

# A reply is somebody else's text: on a terminal it must not move the cursor, change the title or worse.
_UNSAFE = {
    code: "\N{REPLACEMENT CHARACTER}" for code in (*range(0x20), 0x7F, *range(0x80, 0xA0)) if chr(code) not in "\n\t\r"
} | {ord("\r"): ""}
# In a line with other words, text must not turn the direction of those either.
_TURNS = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
UNSAFE_IN_LINE = _UNSAFE | dict.fromkeys(_TURNS, "\N{REPLACEMENT CHARACTER}")

_NO_BREAK = "\N{NO-BREAK SPACE}"
_GAP = "  "
_LEAST_COLUMNS = 10
_MOST_PICTURES = 10
_MOST_SOURCES = 50
_LONGEST_QUOTE = 200


class Printer:
    """Writes a reply as it comes, and ends it with one line feed."""

    def __init__(self) -> None:
        self._lines = Wrapper(width) if sys.stdout.isatty() else None
        self._last = "\n"

    def write(self, text: str) -> None:
        """Writes a piece at once; on a terminal without control characters, word by word in lines of its width."""
        self._put(text if self._lines is None else self._lines.add(text.translate(_UNSAFE)))

    def end(self) -> None:
        """Ends the reply's last line, if it is not ended."""
        if self._lines is not None:
            self._put(self._lines.end())
        if self._last != "\n":
            self.write("\n")

    def _put(self, text: str) -> None:
        if text:
            self._last = text[-1]
            sys.stdout.write(text)
            sys.stdout.flush()


def one_line(text: str, longest: int | None = None) -> str:
    """Somebody else's text in one line, without control characters; cut to `longest` characters."""
    line = " ".join(text.split()).translate(UNSAFE_IN_LINE)
    return line if longest is None or len(line) <= longest else line[: longest - 1] + "…"


def report(message: str) -> None:
    """Writes a message for people on standard error, as one line."""
    say(f"headwater: {one_line(message)}")


def fail(message: str, code: int) -> NoReturn:
    """Ends the process with a message on standard error."""
    report(message)
    sys.exit(code)


def say(text: str, style: Callable[[str], str] = str) -> None:
    """Writes a text on standard error; a terminal gets it in lines of its width, and in this style."""
    if sys.stderr.isatty():
        lines = Wrapper(width)
        text = style(lines.add(text) + lines.end())
    click.echo(text.replace(_NO_BREAK, " "), err=True)


def closing_line(metadata: dict[str, Any]) -> str:
    """The facts of a final chunk about its stream, in a line that breaks between them."""
    usage, stats = metadata.get("usage", {}), metadata.get("stats", {})
    facts = []
    if "output_tokens" in usage:
        count = usage["output_tokens"]
        facts.append(f"{count} token{'' if count == 1 else 's'}")
    if "cost" in metadata:
        facts.append(f"cost {metadata['cost']}")
    if "tokens_per_second" in stats:
        facts.append(f"{stats['tokens_per_second']:.1f} tokens/s")
    if "time_to_first_token" in stats:
        facts.append(f"first token after {stats['time_to_first_token']:.3f} s")
    facts.append(f"{stats.get('duration', 0.0):.2f} s in all")
    if metadata.get("finish_reason") != "stop":
        facts.append(f"ended by {metadata.get('finish_reason')}")
    return ", ".join(fact.replace(" ", _NO_BREAK) for fact in facts)


def pictures_line(images: Sequence[Image]) -> str:
    """How many pictures came, and of which type and size, or at which address."""
    shown = [one_line(image.url) or f"{one_line(image.media_type)} of {len(image.data):,} bytes" for image in images]
    more = ["..."] if len(shown) > _MOST_PICTURES else []
    return f"{len(images)} picture{'' if len(images) == 1 else 's'}: {'; '.join(shown[:_MOST_PICTURES] + more)}"


def source_lines(citations: Sequence[Mapping[str, Any]]) -> list[str]:
    """The sources of a reply, each once and with a number."""
    sources = list(dict.fromkeys(map(_source, citations)))
    lines = [f"[{number}] {source}" for number, source in enumerate(sources[:_MOST_SOURCES], 1)]
    more = len(sources) - len(lines)
    return [*lines, f"and {more} more"] if more else lines


def _source(citation: Mapping[str, Any]) -> str:
    title, url = one_line(citation.get("title", "")), one_line(citation.get("url", ""))
    name = ", ".join(filter(None, (title, url))) or one_line(citation.get("source_id", ""))
    quote = one_line(citation.get("quoted_text", ""), _LONGEST_QUOTE)
    return f'{name}: "{quote}"' if quote and not url else name


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], flexible: Sequence[int] = ()) -> str:
    """Rows in columns. On a terminal they fit its width: columns are cut, then left out from the right.

    Args:
        heads: the names of the columns.
        rows: a cell for each column.
        flexible: which columns may be cut; the last one always may.
    """
    rows = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(columns_of, column)) for column in zip(heads, *rows, strict=True)]
    limit = width() if sys.stdout.isatty() or "COLUMNS" in os.environ else sum(widths) + len(_GAP) * len(widths)
    fitting = _fit(widths, limit, flexible)
    return "\n".join(
        _GAP.join(_padded(cut(cell, size), size) for cell, size in zip(row, fitting, strict=False)).rstrip()
        for row in (heads, *rows)
    )


def _padded(cell: str, columns: int) -> str:
    return cell + " " * (columns - columns_of(cell))


def _fit(widths: Sequence[int], limit: int, flexible: Sequence[int]) -> list[int]:
    """The widths of the columns that fit."""
    fitting = list(widths)
    while (over := sum(fitting) + len(_GAP) * (len(fitting) - 1) - limit) > 0:
        if len(fitting) == 1:
            return [limit]
        for index in sorted({*flexible, len(widths) - 1} & set(range(len(fitting))), reverse=True):
            cut_off = max(0, min(over, fitting[index] - _LEAST_COLUMNS))
            fitting[index] -= cut_off
            over -= cut_off
        if over <= 0:
            break
        fitting = list(widths[: len(fitting) - 1])
    return fitting
