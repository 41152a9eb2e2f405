"""The providers and limits that answer requests now, and those that running streams began with.

Theory of operation. A reload puts another offer in the place of the current one. Each user, a stream or a question to a
provider, holds the offer that was current when it began, and lets it go at its end. An offer that is no longer current
and that has no holder is given up: its providers are closed, but for those that another offer has too, since a provider
whose settings did not change stays as it is.

Example. Offer 1 has openai and ollama. A stream of openai begins and holds offer 1. A reload brings offer 2, with
another openai and the same ollama. A new stream holds offer 2. When the first stream ends, offer 1 is given up: the old
openai is closed, and ollama stays.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from headwater_server.attempts.policy import AttemptSettings
from headwater_server.callers.limits import LimitsOfCallers
from headwater_server.domain.costs.prices import NO_PRICES, PriceTable
from headwater_server.providers.registry import ProviderRegistry
from headwater_server.streaming.answerer import Timeouts
from headwater_server.telemetry.background import in_background


@dataclass(frozen=True, slots=True, eq=False)
class Offer:
    """The providers and limits for requests.

    Attributes:
        providers: the providers that can answer.
        timeouts: the limits of a stream in time, where neither the caller nor the provider says.
        settings: the server's for attempts.
        prices: of models.
        callers: the limits of callers.
    """

    providers: ProviderRegistry
    timeouts: Timeouts
    settings: AttemptSettings
    prices: PriceTable = NO_PRICES
    callers: LimitsOfCallers = field(default_factory=LimitsOfCallers)

    def named_models(self) -> list[tuple[str, str]]:
        """The providers and models that the configuration names: defaults, targets of aliases, those with a price."""
        providers = self.providers
        named = [(provider.name, provider.default_model) for provider in providers.configured()]
        routes = [route for alias in providers.aliases for route in providers.routes(alias, "")[0]]
        return [*named, *((route.provider.name, route.model) for route in routes), *self.prices.models]


class Offers:
    """Owns the current offer and those before it that are still held, on one event loop; `aclose` closes all.

    Attributes:
        current: the offer for requests that begin now.
    """

    def __init__(self, first: Offer) -> None:
        self.current = first
        self._users = {first: 0}
        self._closing: set[asyncio.Task[None]] = set()

    @contextmanager
    def held(self) -> Iterator[Offer]:
        """The current offer, which stays open for the length of the block."""
        offer = self.hold()
        try:
            yield offer
        finally:
            self.let_go(offer)

    def hold(self) -> Offer:
        """The current offer, which stays open until it is let go."""
        self._users[self.current] += 1
        return self.current

    def let_go(self, offer: Offer) -> None:
        """A holder of the offer has left."""
        self._users[offer] -= 1
        if offer is not self.current:
            self._give_up_unused(offer)

    def replace(self, offer: Offer) -> None:
        """Makes the offer the current one. The one before is given up when its last holder has left."""
        before, self.current = self.current, offer
        self._users[offer] = 0
        self._give_up_unused(before)

    def _give_up_unused(self, offer: Offer) -> None:
        if offer is self.current or self._users[offer]:
            return
        del self._users[offer]
        closing = in_background(offer.providers.aclose(self._registries()), "headwater old providers")
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def _registries(self) -> list[ProviderRegistry]:
        return [offer.providers for offer in self._users]

    async def drain(self, seconds: float) -> None:
        """Waits, up to `seconds`, for users in other processes of programs that run here."""
        await asyncio.gather(*(registry.drain(seconds) for registry in self._registries()))

    async def aclose(self) -> None:
        """Closes the providers of every offer. All holders must have left."""
        if self._closing:
            await asyncio.wait(self._closing)
        registries = self._registries()
        while registries:
            await registries.pop().aclose(registries)
