"""Makes providers that speak OpenAI's APIs."""

from __future__ import annotations

from dataclasses import replace

from headwater_server.providers.http.model_list import parse_models
from headwater_server.providers.http.provider import HttpProvider
from headwater_server.providers.http.site import site
from headwater_server.providers.openai.chat import MODELS_PATH, OpenAIChatWire
from headwater_server.providers.openai.models import api_of
from headwater_server.providers.openai.profiles import COMPATIBLE, PROFILES
from headwater_server.providers.openai.responses import OpenAIResponsesWire
from headwater_server.providers.openai.settings import OpenAISettings
from headwater_server.providers.presets import vendor
from headwater_server.providers.registration import BuildContext


def build(name: str, settings: OpenAISettings, context: BuildContext) -> HttpProvider:
    """The provider. OpenAI's model decides the API; a server that only speaks its language gets Chat Completions."""
    service = vendor(settings.preset, settings.base_url)
    genuine = service == "openai"
    profile = PROFILES.get(service, COMPATIBLE)
    profile = replace(profile, omit=profile.omit.union(settings.omit))
    chosen = settings.api
    choose = (lambda _: chosen) if chosen else api_of if genuine else None
    return HttpProvider(
        name=name,
        type=settings.type,
        site=site(name, settings, context),
        wires={
            "chat_completions": OpenAIChatWire(
                genuine=genuine, profile=profile, max_tokens_field=settings.max_tokens_field
            ),
            "responses": OpenAIResponsesWire(genuine=genuine, hosts_openai=profile.hosts_openai),
        },
        default_model=settings.default_model,
        models_path=MODELS_PATH,
        parse_models=parse_models,
        choose_api=choose,
    )
