"""The size of rooms and modules: a newcomer must be able to hold one in mind."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAX_MODULES = 14
MAX_LINES = 400
LONG_FILES = ROOT / "docs" / "adr" / "0005-long-test-files.md"


def modules() -> list[Path]:
    """The hand-written Python modules of the project, relative to its root."""
    tops = ("server", "clients/python", "tests", "benchmarks", "tools", "examples")
    found = [path.relative_to(ROOT) for top in tops for path in (ROOT / top).rglob("*.py")]
    return [path for path in found if not {"v1", "node_modules"} & set(path.parts)]


@pytest.fixture(scope="module")
def reasoned() -> set[str]:
    """The files for which the ADR gives a reason to be long."""
    context = LONG_FILES.read_text("utf-8").partition("## Context")[2].partition("## Decision")[0]
    return set(re.findall(r"`([\w/]+\.py)`", context))


def test_no_room_has_more_modules_than_a_reader_can_survey() -> None:
    rooms = Counter(path.parent for path in modules() if path.name != "__init__.py")
    assert {str(room): count for room, count in rooms.items() if count > MAX_MODULES} == {}


def test_a_long_module_has_a_reason_in_an_adr(reasoned: set[str]) -> None:
    long = {path.as_posix() for path in modules() if len((ROOT / path).read_text("utf-8").splitlines()) > MAX_LINES}
    assert {path for path in long if not any(path.endswith(name) for name in reasoned)} == set()
    assert {name for name in reasoned if not any(path.endswith(name) for path in long)} == set(), (
        "these files are short again, or have moved: take them out of the ADR"
    )
