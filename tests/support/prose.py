"""Finds the prose of the repository: documentation, docstrings, comments, and the texts that the product prints."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PRODUCT = ("server/", "clients/python/", "tools/", "benchmarks/")
"""Where a string with a space in it is text for people: an error, a log line or help. Elsewhere it is data of a test."""

_GENERATED = re.compile(r"(^|/)(v1|gen|node_modules)/.*\.(py|go|ts|java)$|_pb2|\.pb\.go$|_pb\.")
_FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")


@dataclass(frozen=True)
class Passage:
    """A paragraph, a comment or a string, on one line.

    Attributes:
        path: its file, from the root of the repository.
        line: number of its first line.
    """

    path: str
    line: int
    text: str


def passages() -> Iterator[Passage]:
    """Yields every passage of the files that git tracks, and that people wrote and still change."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    for path in sorted(listed.stdout.split("\0")):
        if path and path != "CHANGELOG.md" and not _GENERATED.search(path) and (ROOT / path).exists():
            yield from passages_of(path, (ROOT / path).read_bytes())


def passages_of(path: str, content: bytes) -> Iterator[Passage]:
    """Yields the passages of a file; none for a kind of file that holds no prose."""
    suffix = Path(path).suffix
    if suffix not in _READERS:
        return
    for line, text in _READERS[suffix](path, content.decode()):
        yield Passage(path, line, _CODE.sub("`code`", " ".join(text.split())))


def _paragraphs(text: str, first_line: int) -> Iterator[tuple[int, str]]:
    line = first_line
    for paragraph in re.split(r"(\n\s*\n|\n(?=\s*(?:[-*|]|\d+\.)\s))", text):
        if paragraph.strip():
            yield line + paragraph[: len(paragraph) - len(paragraph.lstrip())].count("\n"), paragraph
        line += paragraph.count("\n")


def _markdown(path: str, text: str) -> Iterator[tuple[int, str]]:
    yield from _paragraphs(_FENCED.sub(lambda block: "\n" * block[0].count("\n"), text), 1)


def _python(path: str, text: str) -> Iterator[tuple[int, str]]:
    docstrings: set[int] = set()
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            docstrings.add(id(node.value))
            yield from _paragraphs(node.value.value, node.lineno)
    if path.startswith(PRODUCT):
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
                yield from ([(node.lineno, node.value)] if " " in node.value.strip() else [])
    if "#" not in text:
        return  # no comments: tokens take most of the time
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    yield from _comments([(t.start[0], t.string[1:]) for t in tokens if t.type == tokenize.COMMENT])


def _slashes(path: str, text: str) -> Iterator[tuple[int, str]]:
    lines = enumerate(text.splitlines(), 1)
    found = ((number, re.search(r'(?:^|\s)(?://+|/?\*+)\s?([^"]*)$', line)) for number, line in lines)
    yield from _comments([(number, match[1].removesuffix("*/")) for number, match in found if match])


def _hashes(path: str, text: str) -> Iterator[tuple[int, str]]:
    lines = enumerate(text.splitlines(), 1)
    found = ((number, re.search(r"(?:^|\s)#+\s(.*)$", line)) for number, line in lines)
    yield from _comments([(number, match[1]) for number, match in found if match])


def _comments(lines: list[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Joins the comments of adjacent lines; an empty one parts paragraphs."""
    block: list[str] = []
    first = last = 0
    for number, text in [*lines, (-1, "")]:
        if block and number != last + 1:
            yield from _paragraphs("\n".join(block), first)
            block = []
        if not block:
            first = number
        block.append(text.strip())
        last = number


_READERS = {
    ".md": _markdown,
    ".py": _python,
    **dict.fromkeys([".proto", ".go", ".ts", ".java"], _slashes),
    **dict.fromkeys([".toml", ".yaml", ".mk", ""], _hashes),
}
