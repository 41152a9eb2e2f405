"""Faults of a connection, drawn from a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """The faults. Those up to THROTTLE are slow: every byte still comes, in order."""

    DELAY = "delay"
    STALL = "stall"
    THROTTLE = "throttle"
    DUPLICATE = "duplicate"
    CUT = "cut"
    RESET = "reset"
    HALF_CLOSE = "half-close"
    SWALLOW = "swallow"
    FLIP = "flip"


HARMLESS = frozenset({Kind.DELAY, Kind.STALL, Kind.THROTTLE, Kind.DUPLICATE})
"""All bytes still come, in order."""

ON_THE_CALLERS_SIDE = (
    *(Kind.CUT, Kind.RESET, Kind.HALF_CLOSE) * 3,
    *(Kind.DELAY, Kind.STALL, Kind.THROTTLE, Kind.DUPLICATE, Kind.SWALLOW),
)
ON_THE_PROVIDERS_SIDE = tuple(kind for kind in Kind if kind is not Kind.FLIP)
WITHIN_TLS = (*(Kind.FLIP,) * 4, Kind.CUT, Kind.RESET, Kind.THROTTLE)

_GREETING = 700
"""Until so many bytes have passed, a new connection may not have brought the first answer."""
_SECONDS = {Kind.DELAY: (0.001, 0.05), Kind.STALL: (0.1, 0.6), Kind.THROTTLE: (0.0002, 0.002)}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a connection.

    Attributes:
        kind: the kind of fault.
        toward_server: the direction in which it happens; False: in the answers.
        after: how many bytes pass in that direction before it, since the fault before.
        seconds: how long a slow one takes; of THROTTLE, for a few bytes.
    """

    kind: Kind
    toward_server: bool = False
    after: int = 0
    seconds: float = 0.0


NO_FAULT = Fault(Kind.DELAY, after=2**62)

Faults = Iterator[Fault]
"""The faults of a proxy, in their order: of one connection after the other."""


def draw(chance: random.Random, kinds: tuple[Kind, ...], most_bytes: int) -> Faults:
    """Endless faults, each after at most so many bytes; one in 40 comes while both sides still greet, or ask.

    More would end the connections of one caller before its first answer four times in a row, which is an error.
    """
    while True:
        kind = chance.choice(kinds)
        toward_server = chance.random() < 0.15
        early = chance.random() < 0.025
        after = chance.randrange(_GREETING) if early else chance.randrange(_GREETING, most_bytes)
        low, high = _SECONDS.get(kind, (0.0, 0.0))
        yield Fault(kind, toward_server, after, chance.uniform(low, high))


def chance_of(*names: object) -> random.Random:
    """The chance that belongs to these names, the same in every run."""
    return random.Random(" ".join(map(str, names)))  # noqa: S311  repeatable, not secret
