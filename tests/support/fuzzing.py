"""A plugin of pytest for `make fuzz`: repeats each property test with new cases for its share of FUZZ_SECONDS.

It prints how many cases each has tried. A case that fails is a failed test: pytest shows it, and it belongs into the
test as an `@example`, which every later run tries first.
"""

from __future__ import annotations

import functools
import os
import time
from collections import Counter
from collections.abc import Generator
from typing import Any

import pytest

SECONDS = float(os.environ.get("FUZZ_SECONDS", "180"))

_cases: Counter[str] = Counter()
_share = 0.0


def _property(item: pytest.Item) -> Any:
    """Hypothesis's handle of the item's function; None for a test of no property."""
    return getattr(getattr(item, "obj", None), "hypothesis", None)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves the other tests out, and counts the cases of these."""
    global _share
    others = [item for item in items if _property(item) is None]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if _property(item) is not None]
    for item in items:
        _count(item)
    _share = SECONDS / max(len(items), 1)


def _count(item: pytest.Item) -> None:
    handle = _property(item)
    test = handle.inner_test
    if hasattr(test, "counts_cases"):  # the same function with other parameters
        return

    @functools.wraps(test)
    def counted(*args: Any, **kwargs: Any) -> Any:
        _cases[item.nodeid.partition("[")[0]] += 1
        return test(*args, **kwargs)

    counted.counts_cases = True  # type: ignore[attr-defined]
    handle.inner_test = counted


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Repeats the test until its share of the time is over; each time Hypothesis makes other cases."""
    end = time.monotonic() + _share
    yield
    while time.monotonic() < end:
        item.runtest()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Prints the cases by test, and the findings."""
    terminalreporter.section("fuzz")
    for name, count in sorted(_cases.items()):
        terminalreporter.write_line(f"{count:>9,} cases  {name}")
    findings = len(terminalreporter.stats.get("failed", ()))
    terminalreporter.write_line(f"{_cases.total():>9,} cases in all, {findings} findings")
