"""Makes providers that speak Google's own API."""

from __future__ import annotations

from headwater_server.providers.base import ModelInfo
from headwater_server.providers.gemini.settings import GeminiSettings
from headwater_server.providers.gemini.wire import GeminiWire
from headwater_server.providers.http import model_list
from headwater_server.providers.http.provider import HttpProvider
from headwater_server.providers.http.site import site
from headwater_server.providers.registration import BuildContext

MODELS_PATH = "/models?pageSize=1000"


def build(name: str, settings: GeminiSettings, context: BuildContext) -> HttpProvider:
    """The provider."""
    return HttpProvider(
        name=name,
        type=settings.type,
        site=site(name, settings, context),
        wires={"generate_content": GeminiWire()},
        default_model=settings.default_model,
        models_path=MODELS_PATH,
        parse_models=parse_models,
    )


def parse_models(body: bytes) -> list[ModelInfo]:
    """The models of the Gemini API or of Vertex AI, which puts paths before their names. Raises HeadwaterError."""
    return [ModelInfo(model.name.rpartition("/")[2]) for model in model_list.parse_models(body)]
