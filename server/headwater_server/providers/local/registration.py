"""The type of provider `local`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater_server.providers.local.machine import availability
from headwater_server.providers.local.settings import LocalSettings
from headwater_server.providers.registration import BuildContext, Flag, ProviderType, Variable

if TYPE_CHECKING:
    from headwater_server.providers.base import Provider


def _build(name: str, settings: LocalSettings, context: BuildContext) -> Provider:
    from headwater_server.providers.local.provider import LocalProvider

    def connect(base_url: str, key: str) -> Provider:
        return context.compatible("openai", name, {"base_url": f"{base_url}/v1"}, key)

    return LocalProvider(name, connect, settings)


LOCAL = ProviderType(
    name="local",
    settings=LocalSettings,
    build=_build,
    environment=(Variable("HEADWATER_LOCAL", "eager"),),
    flag=Flag("eager", "Start the embedded model at once, not at its first use."),
    stands_in=True,
    is_ready=lambda settings: availability(settings.model_path) is None,
)
