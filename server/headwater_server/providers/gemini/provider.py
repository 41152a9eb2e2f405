"""Makes providers that speak Google's own API."""

from __future__ import annotations

import msgspec

from headwater_server.providers.base import ModelInfo
from headwater_server.providers.gemini.settings import GeminiSettings
from headwater_server.providers.gemini.wire import GeminiWire
from headwater_server.providers.http.provider import HttpProvider
from headwater_server.providers.http.site import site
from headwater_server.providers.registration import BuildContext
from headwater_server.providers.wires.json import JSONShape

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


class _Model(msgspec.Struct):
    name: str


class _Models(msgspec.Struct, rename="camel"):
    models: list[_Model] | None = None
    publisher_models: list[_Model] | None = None


_MODELS = JSONShape(_Models, "Google's list of models")


def parse_models(body: bytes) -> list[ModelInfo]:
    """The models of the Gemini API or of Vertex AI, which puts paths before their names. Raises HeadwaterError."""
    found = _MODELS.decode_answer(body)
    return [ModelInfo(model.name.rpartition("/")[2]) for model in found.models or found.publisher_models or ()]
