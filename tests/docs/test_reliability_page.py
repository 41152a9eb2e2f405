"""Each promise of the page on reliability names a test that exists, or a target of the Makefile."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text()
TEST = re.compile(r"`(test_\w+\.py)::(test_\w+)`")
TARGET = re.compile(r"`make ([a-z-]+)`")
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith(("| promise", "| ---"))]


@pytest.fixture(scope="module")
def tests() -> set[tuple[str, str]]:
    """The file and the name of every test."""
    return {
        (path.name, node.name)
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[2:60])
def test_each_promise_names_what_holds_it(row: str) -> None:
    assert TEST.search(row) or TARGET.search(row)


def test_each_named_test_exists(tests: set[tuple[str, str]]) -> None:
    named = set(TEST.findall(PAGE))
    assert named
    assert named - tests == set()


def test_each_named_command_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(TARGET.findall(PAGE)) - targets == set()
