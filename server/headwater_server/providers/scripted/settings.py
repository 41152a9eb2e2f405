"""The settings of a provider of the type `scripted`."""

from __future__ import annotations

from collections.abc import Set
from typing import Literal

from headwater_server.providers.settings import ProviderSettings


class ScriptedSettings(ProviderSettings):
    """Deterministic replies for tests and demos; not there unless enabled."""

    type: Literal["scripted"] = "scripted"
    enabled: bool = False

    def is_offered(self, *, is_configured: bool) -> bool:
        """See ProviderSettings."""
        return self.enabled

    def is_configured(self, chosen: Set[str]) -> bool:
        """See ProviderSettings."""
        return self.enabled
