"""`headwater serve` with merging forced: `python -m tests.support.servers.merging_server on --port 0`.

`off` lets no two deltas be merged. `on` lets every reply wait until the provider has said all, so that all is merged
that can be.
"""

from __future__ import annotations

import sys

from headwater.cli import main
from headwater_server.domain.chunks import ProviderEvent
from headwater_server.domain.errors import HeadwaterError
from headwater_server.providers.http.stream import HttpStream
from headwater_server.streaming import merging


def force_off() -> None:
    """No delta is short enough to be merged."""
    merging.MAX_MERGED_CHARACTERS = -1


def force_on() -> None:
    """The first read gives all up to the end of the reply; an error after that comes next."""
    read = HttpStream.read

    async def read_all(self: HttpStream) -> list[ProviderEvent]:
        events: list[ProviderEvent] = []
        try:
            while batch := await read(self):
                events += batch
        except HeadwaterError as error:
            if not events:
                raise
            self._failure = error
        return events

    HttpStream.read = read_all  # type: ignore[method-assign]


if __name__ == "__main__":
    {"on": force_on, "off": force_off}[sys.argv.pop(1)]()
    main()
