"""The argument FILE of the commands of workflows."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from types import ModuleType
from typing import TYPE_CHECKING, NoReturn

import click

from headwater.cli.output import fail, one_line

if TYPE_CHECKING:
    from headwater.cli.workflow.file import Mistake, WorkflowFile

REFUSED = 3
_LONGEST_FIELD = 200


def parse(file: str) -> WorkflowFile:
    """The workflow in FILE; - is standard input. Raises WorkflowFileError."""
    reader = file_reader()
    with click.open_file(file, "rb") as stream:
        found: WorkflowFile = reader.WorkflowFile(stream.read(reader.LARGEST_BYTES + 1))
    return found


def read(file: str) -> WorkflowFile:
    """The same; mistakes end the process."""
    mistaken = file_reader().WorkflowFileError
    try:
        return parse(file)
    except mistaken as error:
        refuse(file, error.mistakes)


def file_reader() -> ModuleType:
    """The module `workflow_file`, which takes PyYAML."""
    try:
        from headwater.cli.workflow import file as workflow_file
    except ModuleNotFoundError as error:
        if error.name != "yaml":
            raise
        fail("workflow files need PyYAML: pip install pyyaml", 1)
    return workflow_file


def refuse(file: str, mistakes: Iterable[Mistake]) -> NoReturn:
    """Ends the process with a line for each mistake on standard error."""
    for line in mistake_lines(file, mistakes):
        click.echo(line, err=True)
    sys.exit(REFUSED)


def mistake_lines(file: str, mistakes: Iterable[Mistake], kind: str = "") -> list[str]:
    """Mistakes as compilers write them: FILE:LINE: field: mistake, or FILE:LINE: kind: field: mistake."""
    parts = ((shown(file, m.line), kind, one_line(m.field, _LONGEST_FIELD), one_line(m.text)) for m in mistakes)
    return [": ".join(part for part in line if part) for line in parts]


def shown(file: str, line: int | None = None) -> str:
    """FILE, or FILE:LINE, for people."""
    name = "<stdin>" if file == "-" else one_line(click.format_filename(file))
    return f"{name}:{line}" if line else name
