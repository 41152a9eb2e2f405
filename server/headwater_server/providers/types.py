"""The types of providers that there are: the one list that names their folders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from headwater_server.providers.anthropic.registration import ANTHROPIC
from headwater_server.providers.gemini.registration import GEMINI
from headwater_server.providers.local.registration import LOCAL
from headwater_server.providers.model_names import base_name
from headwater_server.providers.ollama.registration import OLLAMA
from headwater_server.providers.openai.registration import OPENAI
from headwater_server.providers.registration import BuildContext, ProviderType
from headwater_server.providers.scripted.registration import SCRIPTED
from headwater_server.providers.settings import ProviderSettings

if TYPE_CHECKING:
    from headwater_server.providers.base import Provider
    from headwater_server.providers.http.client import HttpClient

TYPES: Mapping[str, ProviderType] = {kind.name: kind for kind in (OPENAI, ANTHROPIC, GEMINI, OLLAMA, LOCAL, SCRIPTED)}
"""By name. The provider for a request that names nothing is found in this order."""


def build_provider(
    name: str,
    settings: ProviderSettings,
    client: HttpClient,
    key: str = "",
    variables: Mapping[str, str] | None = None,
) -> Provider:
    """The provider of this name, made by its type. `variables` are those that its settings name."""

    def compatible(kind: str, name: str, values: Mapping[str, Any], key: str) -> Provider:
        return build_provider(name, TYPES[kind].settings.model_validate(values), client, key)

    return TYPES[settings.type].build(name, settings, BuildContext(client, key, variables or {}, compatible))


def type_of_model(model: str) -> str | None:
    """The type of provider that has the model; None for an unknown name."""
    name = base_name(model)
    for kind in TYPES.values():
        if name in kind.routes.names:
            return kind.name
    tagged = ":" in name
    if "/" in name and not tagged:
        return None
    found = [
        (len(prefix), kind.name)
        for kind in TYPES.values()
        for prefix in (kind.routes.tagged if tagged else kind.routes.prefixes)
        if name.startswith(prefix)
    ]
    return max(found)[1] if found else None
