"""Each promise and each attack of the page on security names the tests that hold it, and they exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text("utf-8")
NAMED = re.compile(r"`(tests/[\w/]+\.py)?::(test_\w+)`")


def rows() -> list[str]:
    """The rows of the tables that have a column of tests."""
    found: list[str] = []
    table: list[str] = []
    for line in [*PAGE.splitlines(), ""]:
        if line.startswith("|"):
            table.append(line)
        elif table:
            if table[0].rstrip().endswith("| test |"):
                found += table[2:]
            table = []
    return found


def named(row: str) -> list[tuple[str, str]]:
    """The file and the name of each test in a row; a test without a file is of the one before."""
    tests: list[tuple[str, str]] = []
    for file, name in NAMED.findall(row.rstrip(" |").rsplit(" | ", 1)[-1]):
        tests.append((file or tests[-1][0], name))
    return tests


def functions_of(file: str) -> set[str]:
    """The tests of a file, those of its classes too."""
    path = ROOT / file
    if not path.is_file():
        return set()
    nodes = ast.walk(ast.parse(path.read_text("utf-8")))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[2:60])
def test_each_row_names_tests_that_exist(row: str) -> None:
    tests = named(row)
    assert tests, "name the test, as `tests/FILE.py::test_name`"
    assert [f"{file}::{name}" for file, name in tests if name not in functions_of(file)] == []


def test_no_test_is_named_elsewhere_that_does_not_exist() -> None:
    files = set(re.findall(r"tests/[\w/]+\.py", PAGE))
    assert {file for file in files if not (ROOT / file).is_file()} == set()
    assert len(rows()) > 50
