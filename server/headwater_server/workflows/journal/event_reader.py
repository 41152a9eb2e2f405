"""Gives watchers the events of runs, so that one that stops reading holds little.

Theory of operation. Events that a journal has come page by page: a watcher holds no more than a page. An event may have
a result of a mebibyte, of which each watcher has a copy while it is written. So watchers take turns at those, by run,
and only a watcher whose turn it is reads such an event.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from headwater_server.domain.workflow import RunEvent
from headwater_server.workflows.journal.base import LARGE_CHARACTERS, Journal
from headwater_server.workflows.turns import Turns

MAX_LARGE_AT_ONCE = 32


class EventReader:
    """Reads for all watchers of a journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._large = Turns(MAX_LARGE_AT_ONCE)

    async def stored(self, run_id: str, after: int) -> AsyncGenerator[RunEvent, None]:
        """The events of a run that has ended after the one numbered `after`."""
        is_last = False
        while not is_last:
            page = await self._journal.event_page(run_id, after)
            if page.is_large:
                async with self._large.place(run_id):
                    page = await self._journal.event_page(run_id, after, large=True)
                    while page.events:
                        yield page.events.popleft()
            while page.events:
                yield page.events.popleft()
            after, is_last = page.position, page.is_last

    async def in_turns(self, run_id: str, events: AsyncGenerator[RunEvent, None]) -> AsyncGenerator[RunEvent, None]:
        """The same events, which all watchers of the run share; the large ones in turns, for each is written."""
        async with aclosing(events):
            async for event in events:
                if len(event.result) <= LARGE_CHARACTERS:
                    yield event
                else:
                    async with self._large.place(run_id):
                        yield event
