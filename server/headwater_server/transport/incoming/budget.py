"""The memory that the requests of all running calls may take together."""

from __future__ import annotations

from headwater_server.domain.errors import overloaded

SMALL_BYTES = 64 * 1024
"""Requests up to this size are taken while large ones fill the budget: those who send little need not wait."""

DEFAULT_BYTES = 256 * 1024 * 1024


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
        """Ends what `take` or `begin` began."""
        self.taken -= size

    def begin(self, size: int) -> None:
        """As `take`. Raises HeadwaterError (SERVER_OVERLOADED) where there is no room."""
        taken = self.taken + size
        if taken <= self._most:  # as nearly always; `take` knows the rest
            self.taken = taken
        elif not self.take(size):
            raise overloaded(
                f"the requests of all running calls have {self.taken >> 20} MiB, of {self._most >> 20} MiB that "
                "max_requests_mib allows; try again when some have ended"
            )
