"""Both event loops."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import uvloop

Test = Callable[[], Awaitable[None]]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Test], None]:
    """Runs a test on an event loop of each kind, within a time."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop

    async def within_time(test: Test) -> None:
        async with asyncio.timeout(30):
            await test()

    def in_loop(test: Test) -> None:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(within_time(test))

    return in_loop
