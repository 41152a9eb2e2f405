"""A real server on a free port, with an empty data directory, whose every model is played by the planned replies."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from headwater_server.bootstrap import Running, running
from headwater_server.config import ServerSettings
from headwater_server.providers.base import Provider
from headwater_server.providers.registry import ProviderRegistry, Route
from headwater_server.providers.types import TYPES, type_of_model
from headwater_server.testing.replies import PlannedProvider, PlannedReplies

NAME = "scripted"
"""Name of the provider for a model that belongs to none."""


class PlannedRegistry(ProviderRegistry):
    """Has every provider and every model; a model goes to the provider that it would go to elsewhere."""

    def __init__(self, replies: PlannedReplies) -> None:
        super().__init__({NAME: PlannedProvider(NAME, replies)}, frozenset({NAME}))
        self._replies = replies

    def resolve(self, model: str, provider: str) -> Route:
        """See ProviderRegistry."""
        prefix, slash, rest = model.partition("/")
        if not provider and slash and prefix in TYPES:
            provider, model = prefix, rest
        name = provider or type_of_model(model) or NAME
        return Route(self.provider(name), model.removeprefix(f"{name}/") or PlannedProvider.default_model)

    def provider(self, name: str) -> Provider:
        """See ProviderRegistry."""
        return PlannedProvider(name or NAME, self._replies)


@asynccontextmanager
async def serving(replies: PlannedReplies) -> AsyncIterator[Running]:
    """The server, for the length of the block."""
    with tempfile.TemporaryDirectory(prefix="headwater-test-") as data:
        # A planned failure is for the code under test, and the next plan for its next call.
        plain = {"port": 0, "data_dir": data, "allow_caller_api_keys": True, "max_attempts": 1}
        settings = ServerSettings.model_validate(plain)
        async with running(settings, PlannedRegistry(replies)) as server:
            yield server
