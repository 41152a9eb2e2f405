"""A provider's reply, event by event."""

from __future__ import annotations

from collections.abc import AsyncIterator

from headwater_server.domain.chunks import ProviderEvent
from headwater_server.providers.base import ProviderStream


async def events_of(stream: ProviderStream) -> AsyncIterator[ProviderEvent]:
    """All events from here to the end of the reply."""
    while batch := await stream.read():
        for event in batch:
            yield event
