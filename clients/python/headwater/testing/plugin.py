"""The fixture `headwater`. pytest loads this module in each of its runs; so it imports nothing before it is used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from headwater.testing import ScriptedServer
    from headwater.testing.process import ControlledProcess


@pytest.fixture(scope="session")
def _headwater_process() -> Iterator[ControlledProcess]:
    """The process of the servers of this test run; started by the first test that uses one."""
    from headwater.testing.process import ControlledProcess

    with ControlledProcess() as process:
        yield process


@pytest.fixture
def headwater(_headwater_process: ControlledProcess, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    """A Headwater server for this test alone, with planned replies; HEADWATER_TARGET names it."""
    from headwater.testing import ScriptedServer

    with ScriptedServer(_headwater_process) as server:
        monkeypatch.setenv("HEADWATER_TARGET", server.target)
        yield server
