"""Which models had better not be asked now: a model that fails cools down, one request probes it, and it is back.

Theory of operation. A circuit belongs to one model behind one address and key. It is closed at first. A failure opens
it for `cool_down_seconds`, or for as long as the provider says. Then it is half open: the next request that wants the
model is its probe, and all others still do without it. The probe closes the circuit when it succeeds; when it fails,
the circuit opens for twice as long, up to five minutes. A probe that is left without an outcome gives its turn to the
next request.

A circuit only says which model comes first. A request that has no other is answered by an open one, so a model with
nothing beside it is never refused.

Example. `cool_down_seconds` is 5. A model fails at 0 s, and is passed over until 5 s. The first request after that
asks it, and fails at 6 s. It is passed over until 16 s.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TypeAlias

LONGEST_SECONDS = 300.0
LONGEST_SAID_SECONDS = 3_600.0
MAX_CIRCUITS = 10_000
"""Most that are remembered: names of models come from callers. The oldest go."""

OPEN, HALF_OPEN = "open", "half_open"

Key: TypeAlias = tuple[str, str, str]
"""A provider's name, the fingerprint of its address and key, and the model."""


@dataclass(slots=True)
class _Circuit:
    """One that is not closed: since when it is half open, how long it opens, and whether a probe is under way."""

    until: float
    seconds: float
    probing: bool = False


class Circuits:
    """Those of a process.

    Attributes:
        seconds: how long a model cools down at first.
        known: those that are not closed, by their models.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.known: dict[Key, _Circuit] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def ready(self, key: Key) -> float:
        """From when on it may be asked, as the loop's time; 0 for at once."""
        circuit = self.known.get(key)
        if circuit is None:
            return 0.0
        now = asyncio.get_running_loop().time()
        if circuit.probing:
            return now + circuit.seconds
        return circuit.until if circuit.until > now else 0.0

    def ask(self, key: Key) -> bool:
        """It is asked now: whether this is the probe of a half-open circuit."""
        circuit = self.known.get(key)
        if circuit is None or circuit.probing or circuit.until > asyncio.get_running_loop().time():
            return False
        circuit.probing = True
        return True

    def failed(self, key: Key, said: float | None) -> None:
        """It has failed; the provider says to wait so many seconds, or nothing."""
        self._loop = asyncio.get_running_loop()
        now = self._loop.time()
        circuit = self.known.pop(key, None)
        if circuit is None:
            circuit = _Circuit(now, self.seconds)
        elif circuit.until <= now:
            circuit.seconds = min(circuit.seconds * 2, LONGEST_SECONDS)
        circuit.probing = False
        circuit.until = max(circuit.until, now + max(circuit.seconds, min(said or 0.0, LONGEST_SAID_SECONDS)))
        self.known[key] = circuit
        if len(self.known) > MAX_CIRCUITS:
            del self.known[next(iter(self.known))]

    def succeeded(self, key: Key) -> None:
        """It has answered."""
        self.known.pop(key, None)

    def states(self) -> list[tuple[str, str, str]]:
        """Of each circuit that is not closed the provider, the model, and its state; also for other threads."""
        if self._loop is None:
            return []
        now = self._loop.time()
        return [
            (provider, model, OPEN if circuit.until > now else HALF_OPEN)
            for (provider, _, model), circuit in list(self.known.items())
        ]

    def left(self, key: Key) -> None:
        """Its probe ended without an outcome."""
        if (circuit := self.known.get(key)) is not None:
            circuit.probing = False
