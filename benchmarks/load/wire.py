"""The agreement of upstream and load generator: how a prompt asks for a stream, and how its text tells its age.

The text of a delta is a stamp: the microseconds of the system's monotonic clock, which all processes share, in 12
digits and a blank. So its reader knows how old it is, and how many deltas were merged into a chunk
follows from its length.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

STAMP_LENGTH = 13
MODEL = "bench-model"
"""The model that every contestant is asked for. No provider has one of this name."""
KEY = "sk-bench-7d1f4a90c3e85b26f0a7"
"""The key that every caller sends, and that the gateways send on. It opens nothing."""

_ORDER = re.compile(rb"bench pace=([\d.]+) count=(\d+) seconds=([\d.]+)")


@dataclass(frozen=True)
class Order:
    """The order to the upstream in a prompt.

    Attributes:
        pace: deltas a second; 0: as fast as the reader takes them.
        count: deltas in all; 0: no end by count.
        seconds: the stream ends after so long; 0: no end by time. A stream with neither end says one delta, then
            nothing more until its reader leaves.
    """

    pace: float = 0.0
    count: int = 0
    seconds: float = 0.0

    @property
    def prompt(self) -> str:
        """The prompt that asks for it."""
        return f"bench pace={self.pace} count={self.count} seconds={self.seconds}"

    @property
    def silent(self) -> bool:
        """Whether it falls silent after its first delta."""
        return not self.count and not self.seconds

    @classmethod
    def parse(cls, body: bytes) -> Order:
        """The order in the body of a request. ValueError when there is none."""
        found = _ORDER.search(body)
        if found is None:
            raise ValueError("the request's prompt has no order for the benchmark's upstream")
        return cls(float(found[1]), int(found[2]), float(found[3]))


def now_us() -> int:
    """Microseconds of the monotonic clock."""
    return time.monotonic_ns() // 1000


def stamps(text: str | bytes) -> list[int]:
    """The stamps in a chunk's text. ValueError when it is not made of whole stamps."""
    if len(text) % STAMP_LENGTH:
        raise ValueError(f"{len(text)} characters are not a whole number of stamps")
    return [int(text[at : at + STAMP_LENGTH]) for at in range(0, len(text), STAMP_LENGTH)]
