"""Descriptions for the model: of a tool and of its arguments, from docstrings and from `Annotated[...]`.

Griffe reads the docstring, in Google's, NumPy's or Sphinx's style. It is imported for docstrings with sections only.
"""

from __future__ import annotations

import logging
import re
import types
import typing
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from headwater.exceptions import ToolError

if TYPE_CHECKING:
    from griffe import DocstringSection

_MAY_HAVE_SECTIONS = re.compile(r"^[ \t]*(?::\w|-{3,}[ \t]*$|[A-Za-z][\w ]*:[ \t]*$)", re.MULTILINE)
_ARGUMENTS = ("parameters", "other parameters")


@dataclass(frozen=True, slots=True)
class Description:
    """The content of a docstring.

    Attributes:
        text: all of it but the arguments.
        arguments: the description of each argument.
        unread: lines of the arguments that could not be read.
    """

    text: str
    arguments: dict[str, str] = field(default_factory=dict)
    unread: tuple[str, ...] = ()


def read_docstring(document: str) -> Description:
    """The description of a function.

    Args:
        document: its docstring, without indentation.

    Raises:
        ToolError: the docstring has sections, and griffe is not installed.
    """
    if not _MAY_HAVE_SECTIONS.search(document):
        return Description(document.strip())
    try:
        from griffe import Docstring, infer_docstring_style, parse
    except ImportError:
        raise ToolError("a docstring with sections needs griffe: pip install griffelib") from None
    docstring = Docstring(document)
    style, _ = infer_docstring_style(docstring)
    if style is None:
        return Description(document.strip())
    with _problems() as unread:
        sections = parse(docstring, style)
    arguments: dict[str, str] = {}
    texts: list[str] = []
    for section in sections:
        if section.kind.value in _ARGUMENTS:
            for argument in section.value:
                arguments[argument.name.lstrip("*")] = " ".join(argument.description.split())
        else:
            texts.append(_shown(section))
    return Description("\n\n".join(filter(None, texts)), arguments, tuple(unread))


@contextmanager
def _problems() -> Iterator[list[str]]:
    """The lines that griffe could not read; it names them in its log only, among notes about annotations."""
    found: list[str] = []

    def take(record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if "Failed" in message:
            found.append(message.partition("Failed")[2])
        return False

    logger = logging.getLogger("griffe")
    logger.addFilter(take)
    try:
        yield found
    finally:
        logger.removeFilter(take)


def _shown(section: DocstringSection) -> str:
    """A section as text."""
    value = section.value
    if isinstance(value, str):
        return value.strip()
    title = section.title or section.kind.value.capitalize()
    if not isinstance(value, list):  # an admonition
        return _entry(title, value.description)
    lines = [_line(item) for item in value]
    return _entry(title, "\n".join(lines))


def _line(item: Any) -> str:
    if isinstance(item, tuple):  # of an example: its kind and its text
        return str(item[1])
    name = getattr(item, "name", "") or (str(item.annotation) if item.annotation and not item.description else "")
    if type(item).__name__ in ("DocstringRaise", "DocstringWarn"):
        name = str(item.annotation)
    return f"{name}: {item.description}" if name and item.description else name or item.description


def _entry(title: str, text: str) -> str:
    body = "\n".join(f"    {line}".rstrip() for line in text.strip().splitlines())
    return f"{title}:\n{body}"


def check_described(tool: str, described: Description, parameters: Iterable[str]) -> None:
    """Warn of words of the docstring about arguments that the model will not see."""
    known = set(parameters)
    for name in described.arguments:
        if name not in known:
            _warn(f"{tool}: its docstring describes an argument {name!r}, which the function does not have")
    for line in described.unread:
        _warn(f"{tool}: a line of its docstring that describes arguments cannot be read:{line}")


def annotated_description(tool: str, name: str, kind: Any) -> str:
    """The words in `Annotated[T, "words"]` or `Annotated[T, Doc("words")]`, also beside `| None`; empty for none."""
    words: list[str] = []
    todo = [kind]
    while todo:
        part = todo.pop(0)
        arguments = typing.get_args(part)
        if typing.get_origin(part) is Annotated:
            words += filter(None, map(_words, arguments[1:]))
            todo.append(arguments[0])
        elif typing.get_origin(part) in (typing.Union, types.UnionType):
            todo += arguments
        elif any(map(_has_words, arguments)):
            _warn(f"{tool}: a description within the type of {name!r} is not used; write it at the argument itself")
    return " ".join(words)


def _words(fact: Any) -> str:
    said = fact if isinstance(fact, str) else getattr(fact, "documentation", "")
    return " ".join(said.split()) if isinstance(said, str) else ""


def _has_words(kind: Any) -> bool:
    if typing.get_origin(kind) is Annotated:
        inner, *facts = typing.get_args(kind)
        return any(map(_words, facts)) or _has_words(inner)
    return any(map(_has_words, typing.get_args(kind)))


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=5)
