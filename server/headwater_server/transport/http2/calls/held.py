"""The bytes that have come and that no handler has taken: how many each call holds, and which is refused for it.

Theory of operation. Each call counts what it holds with the share of its connection, and all shares with the server.
When the server holds too much, the connection with the most is found, and of its calls the one with the most: it ends,
and what it held is free. So those who hoard are refused, and not the caller who comes next with a little.

Worked example. A server may hold 100 bytes. Connection A has calls with 50 and 30, connection B one with 15. B brings
10 more: A has the most, and its call with 50 is refused. 55 are held.
"""

from __future__ import annotations

from typing import Protocol


class Holder(Protocol):
    """A call that holds bytes.

    Attributes:
        held: how many.
    """

    held: int

    def refuse(self, why: str) -> None:
        """Ends it, and gives all that it holds back."""


class Held:
    """The bytes that all calls of a server hold.

    Args:
        most_bytes: that may be held; 0: no limit.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most = most_bytes
        self.bytes = 0
        self.shares: set[Share] = set()

    def relieve(self) -> None:
        """Refuses those who hold the most until no more is held than may be."""
        while self.most and self.bytes > self.most:
            share = max(self.shares, key=_bytes_of)
            why = f"messages on their way have {self.bytes >> 20} MiB, more than this server holds; try again"
            max(share.holders, key=_held_of).refuse(why)


class Share:
    """The bytes that the calls of one connection hold.

    Args:
        held: counts for all.
    """

    __slots__ = ("_all", "bytes", "holders")

    def __init__(self, held: Held) -> None:
        self._all = held
        self.bytes = 0
        self.holders: set[Holder] = set()

    def change(self, holder: Holder, held: int) -> None:
        """A call holds so many bytes from now on."""
        step = held - holder.held
        if not step:
            return
        holder.held = held
        if held:
            self.holders.add(holder)
        else:
            self.holders.discard(holder)
        self.bytes += step
        self._all.bytes += step
        if self.bytes:
            self._all.shares.add(self)
        else:
            self._all.shares.discard(self)

    def relieve(self) -> None:
        """Refuses calls while too much is held by all."""
        if self._all.bytes > self._all.most:
            self._all.relieve()


def _bytes_of(share: Share) -> int:
    return share.bytes


def _held_of(holder: Holder) -> int:
    return holder.held
