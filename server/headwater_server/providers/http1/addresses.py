"""The addresses of a host, asked for once for all connections of a moment, and the first that takes one.

Several addresses are tried as browsers do ("happy eyeballs", RFC 8305): the next one begins when the one before has
failed or has not answered in a quarter of a second, IPv6 and IPv4 in turn.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias

import aiohappyeyeballs
from aiohappyeyeballs import AddrInfoType

KEPT_SECONDS = 10.0
"""How long addresses are kept: one burst of streams asks once, and a change is noticed soon."""

NEXT_SECONDS = 0.25

_Lookup: TypeAlias = "asyncio.Task[Sequence[AddrInfoType]]"


class Addresses:
    """Knows the addresses of hosts for a while; within one event loop, to be closed by its owner."""

    def __init__(self) -> None:
        self._lookups: dict[tuple[str, int], _Lookup] = {}

    async def find(self, host: str, port: int) -> Sequence[AddrInfoType]:
        """The addresses of a host. Raises OSError, and ValueError for a text that no host can have as its name."""
        return _literal(host, port) or await self._find(host, port)

    def close(self) -> None:
        """Asks no more."""
        for lookup in self._lookups.values():
            lookup.cancel()
        self._lookups.clear()

    async def _find(self, host: str, port: int) -> Sequence[AddrInfoType]:
        where = host, port
        if where not in self._lookups:
            self._lookups[where] = lookup = asyncio.create_task(self._ask(host, port), name="headwater addresses")
            lookup.add_done_callback(lambda done: self._keep(where, done))
        return await asyncio.shield(self._lookups[where])

    async def _ask(self, host: str, port: int) -> Sequence[AddrInfoType]:
        return await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
        )

    def _keep(self, where: tuple[str, int], lookup: _Lookup) -> None:
        """Forgets a failure at once, and addresses after a while."""
        if lookup.cancelled() or lookup.exception() is not None:
            self._lookups.pop(where, None)
        else:
            asyncio.get_running_loop().call_later(KEPT_SECONDS, self._lookups.pop, where, None)


async def first_to_take(addresses: Sequence[AddrInfoType]) -> socket.socket:
    """A socket that is connected to one of the addresses. Raises OSError."""
    return await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=NEXT_SECONDS, interleave=1)


@lru_cache(maxsize=256)
def _literal(host: str, port: int) -> Sequence[AddrInfoType]:
    """The address that a host already is; empty for a name."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except OSError:
        return []
