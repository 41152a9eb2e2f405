"""The memory that the requests of all running calls may take together."""

from __future__ import annotations

from contextlib import AbstractContextManager

from headwater_server.domain.errors import overloaded

SMALL_BYTES = 64 * 1024
"""Requests up to this size are taken while large ones fill the budget: those who send little need not wait."""

DEFAULT_BYTES = 256 * 1024 * 1024


class _Taken(AbstractContextManager[None]):
    """Bytes of a request, for the length of a block: as long as its reply, so that a generator would be much."""

    __slots__ = ("_budget", "_size")

    def __init__(self, budget: RequestBudget, size: int) -> None:
        self._budget, self._size = budget, size

    def __enter__(self) -> None:
        self._budget.begin(self._size)

    def __exit__(self, *_: object) -> None:
        self._budget.taken -= self._size


class RequestBudget:
    """Counts the bytes of the requests that are being answered.

    Args:
        most_bytes: that the large ones may have together. Small ones may have as much again.

    Attributes:
        taken: the bytes of all requests now.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self.taken = 0

    def take(self, size: int) -> bool:
        """Counts so many bytes, for `give_back` later; says whether there was room for them."""
        most = self._most * 2 if size <= SMALL_BYTES else self._most
        if self.taken and self.taken + size > most:
            return False
        self.taken += size
        return True

    def give_back(self, size: int) -> None:
        """Ends what `take` began."""
        self.taken -= size

    def taking(self, size: int) -> AbstractContextManager[None]:
        """Counts a request for the length of a block. Raises HeadwaterError (SERVER_OVERLOADED) at its beginning."""
        return _Taken(self, size)

    def begin(self, size: int) -> None:
        """Counts a request. Raises HeadwaterError (SERVER_OVERLOADED)."""
        if not self.take(size):
            raise overloaded(
                f"the requests of all running calls have {self.taken >> 20} MiB, of {self._most >> 20} MiB that "
                "max_requests_mib allows; try again when some have ended"
            )
