"""No leaks: a test that leaves a task or a socket behind fails."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _no_leaks() -> Iterator[None]:
    """Warnings are errors, but those of destructors are only raised when the garbage is collected: here, not later.

    A task that is still pending when its loop is closed warns then; so does a socket that was not closed.
    """
    yield
    gc.collect()
