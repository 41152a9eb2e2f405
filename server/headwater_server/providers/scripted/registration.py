"""The type of provider `scripted`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater_server.providers.registration import BuildContext, Flag, ProviderType, Variable
from headwater_server.providers.scripted.settings import ScriptedSettings

if TYPE_CHECKING:
    from headwater_server.providers.base import Provider


def _build(name: str, settings: ScriptedSettings, context: BuildContext) -> Provider:
    from headwater_server.providers.scripted.provider import ScriptedProvider

    return ScriptedProvider(name)


SCRIPTED = ProviderType(
    name="scripted",
    settings=ScriptedSettings,
    build=_build,
    environment=(Variable("HEADWATER_SCRIPTED", "enabled"),),
    flag=Flag("enabled", "Offer the provider `scripted`, for tests and demos."),
    stands_in=True,
)
