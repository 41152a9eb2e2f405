"""Makes providers that speak Anthropic's API."""

from __future__ import annotations

from headwater_server.providers.anthropic.settings import AnthropicSettings
from headwater_server.providers.anthropic.wire import MODELS_PATH, AnthropicWire
from headwater_server.providers.http.model_list import parse_models
from headwater_server.providers.http.provider import HttpProvider
from headwater_server.providers.http.site import site
from headwater_server.providers.presets import vendor
from headwater_server.providers.registration import BuildContext

_TAKE_DROP = frozenset({"anthropic", "bedrock-anthropic"})


def build(name: str, settings: AnthropicSettings, context: BuildContext) -> HttpProvider:
    """The provider."""
    service = vendor(settings.preset, settings.base_url)
    return HttpProvider(
        name=name,
        type=settings.type,
        site=site(name, settings, context),
        wires={"messages": AnthropicWire(settings.max_tokens, takes_drop=service in _TAKE_DROP)},
        default_model=settings.default_model,
        models_path=MODELS_PATH,
        parse_models=parse_models,
    )
